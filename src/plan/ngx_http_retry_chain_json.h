
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * JSON texts of unknown origin, paths into them, and the rules of
 * retry_chain_json.
 *
 * A path is "$" followed by any of .name, ['name'], ["name"] and [n].
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_JSON_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_JSON_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <cjson/cJSON.h>


#define NGX_HTTP_RETRY_CHAIN_JSON_DEPTH  64


typedef struct {
    ngx_str_t                           name;      /* ends with a zero */
    ngx_uint_t                          index;
    unsigned                            indexed:1;
} ngx_http_retry_chain_json_key_t;


typedef struct {
    ngx_http_retry_chain_json_key_t    *keys;
    ngx_uint_t                          nkeys;     /* 0: the whole document */
} ngx_http_retry_chain_json_path_t;


typedef struct {
    const char                         *reason;
    size_t                              offset;    /* where in the text */
} ngx_http_retry_chain_json_error_t;


typedef struct {
    ngx_str_t                           text;
    double                              number;
    unsigned                            numeric:1;
} ngx_http_retry_chain_json_value_t;


typedef struct ngx_http_retry_chain_json_rule_s {
    ngx_str_t                           text;      /* the path as written */
    ngx_http_retry_chain_json_path_t    path;
    ngx_http_retry_chain_json_value_t  *values;
    ngx_uint_t                          nvalues;   /* 0: any value */
} ngx_http_retry_chain_json_rule_t;


/*
 * Parses a text of at most "max" bytes, nested at most JSON_DEPTH deep, with
 * nothing behind it.  NGX_DECLINED, with the error, if it is none.
 */
ngx_int_t ngx_http_retry_chain_json_parse(ngx_str_t *text, size_t max,
    cJSON **json, ngx_http_retry_chain_json_error_t *err);

/* NGX_DECLINED, with the error, if the text is no path */
ngx_int_t ngx_http_retry_chain_json_path(ngx_pool_t *pool, ngx_str_t *text,
    ngx_http_retry_chain_json_path_t *path,
    ngx_http_retry_chain_json_error_t *err);

/* NULL if there is no such place */
cJSON *ngx_http_retry_chain_json_lookup(cJSON *json,
    const ngx_http_retry_chain_json_path_t *path);

/* NGX_DECLINED if the text is no number as JSON has them */
ngx_int_t ngx_http_retry_chain_json_number(ngx_str_t *text, double *number);

/* the first argument is the path; NGX_DECLINED as above */
ngx_int_t ngx_http_retry_chain_json_rule(ngx_pool_t *pool, ngx_str_t *args,
    ngx_uint_t nargs, ngx_http_retry_chain_json_rule_t *rule,
    ngx_http_retry_chain_json_error_t *err);

/* the index of the first rule that matches, or NGX_DECLINED */
ngx_int_t ngx_http_retry_chain_json_match(
    const ngx_http_retry_chain_json_rule_t *rules, ngx_uint_t nrules,
    cJSON *json);


#endif /* _NGX_HTTP_RETRY_CHAIN_JSON_H_INCLUDED_ */
