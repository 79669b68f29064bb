
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_json_writer.h"
#include "ngx_http_retry_chain_utf8.h"


static cJSON *ngx_http_retry_chain_json_writer_add(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key,
    cJSON *item);


void
ngx_http_retry_chain_json_writer_init(
    ngx_http_retry_chain_json_writer_t *writer, ngx_pool_t *pool)
{
    writer->pool = pool;
    writer->root = cJSON_CreateObject();
    writer->error = writer->root == NULL;
}


/* keys are literals, they are not copied */

static cJSON *
ngx_http_retry_chain_json_writer_add(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *parent, const char *key, cJSON *item)
{
    cJSON_bool  added;

    added = key ? cJSON_AddItemToObjectCS(parent, key, item)
                : cJSON_AddItemToArray(parent, item);

    if (!added) {
        cJSON_Delete(item);
        writer->error = 1;
        return NULL;
    }

    return item;
}


cJSON *
ngx_http_retry_chain_json_writer_object(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key)
{
    return ngx_http_retry_chain_json_writer_add(writer, parent, key,
                                                cJSON_CreateObject());
}


cJSON *
ngx_http_retry_chain_json_writer_array(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key)
{
    return ngx_http_retry_chain_json_writer_add(writer, parent, key,
                                                cJSON_CreateArray());
}


/* a double would be exact up to 2^53 only */

void
ngx_http_retry_chain_json_writer_number(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key,
    uint64_t n)
{
    char  buf[NGX_INT64_LEN + 1];

    (void) ngx_sprintf((u_char *) buf, "%uL%Z", n);

    (void) ngx_http_retry_chain_json_writer_add(writer, parent, key,
                                                cJSON_CreateRaw(buf));
}


void
ngx_http_retry_chain_json_writer_thousandths(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key,
    uint64_t n)
{
    u_char  *p, buf[NGX_INT64_LEN + sizeof(".000")];

    p = ngx_sprintf(buf, "%uL.%03uL", n / 1000, n % 1000);

    while (p[-1] == '0') {
        p--;
    }

    if (p[-1] == '.') {
        p--;
    }

    *p = '\0';

    (void) ngx_http_retry_chain_json_writer_add(writer, parent, key,
                                                cJSON_CreateRaw((char *) buf));
}


void
ngx_http_retry_chain_json_writer_flag(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key,
    ngx_uint_t flag)
{
    (void) ngx_http_retry_chain_json_writer_add(writer, parent, key,
                                                cJSON_CreateBool(flag != 0));
}


void
ngx_http_retry_chain_json_writer_null(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key)
{
    (void) ngx_http_retry_chain_json_writer_add(writer, parent, key,
                                                cJSON_CreateNull());
}


void
ngx_http_retry_chain_json_writer_string(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key,
    const u_char *data, size_t len)
{
    u_char  *p, *last;

    p = ngx_pnalloc(writer->pool, ngx_http_retry_chain_utf8_len(len) + 1);
    if (p == NULL) {
        writer->error = 1;
        return;
    }

    last = ngx_http_retry_chain_utf8_copy(p, data, len);
    *last = '\0';

    (void) ngx_http_retry_chain_json_writer_add(writer, parent, key,
                                                cJSON_CreateString((char *) p));
}


ngx_int_t
ngx_http_retry_chain_json_writer_print(
    ngx_http_retry_chain_json_writer_t *writer, ngx_str_t *text)
{
    char  *printed;

    printed = writer->error ? NULL : cJSON_PrintUnformatted(writer->root);

    cJSON_Delete(writer->root);

    writer->root = NULL;

    if (printed == NULL) {
        return NGX_ERROR;
    }

    text->len = ngx_strlen(printed);
    text->data = ngx_pnalloc(writer->pool, text->len);

    if (text->data) {
        ngx_memcpy(text->data, printed, text->len);
    }

    cJSON_free(printed);

    return text->data ? NGX_OK : NGX_ERROR;
}
