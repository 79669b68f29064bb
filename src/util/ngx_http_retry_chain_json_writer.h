
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A JSON text that is being made, with cJSON.  What fails is noted in the
 * writer, so that only its end has to look.  Numbers are exact, strings are
 * UTF-8.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_JSON_WRITER_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_JSON_WRITER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <cjson/cJSON.h>


typedef struct {
    ngx_pool_t    *pool;
    cJSON         *root;       /* an object */
    ngx_uint_t     error;
} ngx_http_retry_chain_json_writer_t;


void ngx_http_retry_chain_json_writer_init(
    ngx_http_retry_chain_json_writer_t *writer, ngx_pool_t *pool);

/* without a key the parent is an array */
cJSON *ngx_http_retry_chain_json_writer_object(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key);
cJSON *ngx_http_retry_chain_json_writer_array(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key);
void ngx_http_retry_chain_json_writer_number(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key,
    uint64_t n);

/* n / 1000 */
void ngx_http_retry_chain_json_writer_thousandths(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key,
    uint64_t n);

/* true or false; null; a string */
void ngx_http_retry_chain_json_writer_flag(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key,
    ngx_uint_t flag);
void ngx_http_retry_chain_json_writer_null(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key);
void ngx_http_retry_chain_json_writer_string(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key,
    const u_char *data, size_t len);

/* the text; the tree is gone then */
ngx_int_t ngx_http_retry_chain_json_writer_print(
    ngx_http_retry_chain_json_writer_t *writer, ngx_str_t *text);


#endif /* _NGX_HTTP_RETRY_CHAIN_JSON_WRITER_H_INCLUDED_ */
