
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Conditions on a reply, as the Choice rules of the Amazon States Language
 * have them.
 *
 * A comparison with a value that is missing or of another type is false, where
 * the States Language would end the execution.  Of a header that occurs several
 * times the look-up chooses one.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_CONDITION_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_CONDITION_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_json.h"
#include "ngx_http_retry_chain_plan.h"


/* so that a match is made in bounded time */

#define NGX_HTTP_RETRY_CHAIN_MAX_PATTERN  256


/* the value of a header, names in any case; NGX_DECLINED if there is none */

typedef ngx_int_t (*ngx_http_retry_chain_lookup_pt)(void *data,
    ngx_str_t *name, ngx_str_t *value);


typedef struct {
    ngx_uint_t                          status;
    ngx_uint_t                          outcome;   /* bit of the mask */

    ngx_http_retry_chain_lookup_pt      lookup;    /* NULL: no headers */
    void                               *data;      /* of lookup */

    cJSON                              *json;      /* NULL: no JSON */
    ngx_str_t                           body;      /* its text */

    unsigned                            http:1;    /* of http:invoke */
    unsigned                            pending:1;  /* the body is to come */
} ngx_http_retry_chain_reply_t;


typedef enum {
    NGX_HTTP_RETRY_CHAIN_OPERAND_ABSENT = 0,
    NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT,           /* has parts */
    NGX_HTTP_RETRY_CHAIN_OPERAND_STATUS,
    NGX_HTTP_RETRY_CHAIN_OPERAND_HEADER,
    NGX_HTTP_RETRY_CHAIN_OPERAND_BODY,
    NGX_HTTP_RETRY_CHAIN_OPERAND_ERROR,            /* name of an error */
    NGX_HTTP_RETRY_CHAIN_OPERAND_CAUSE,
    NGX_HTTP_RETRY_CHAIN_OPERAND_NUMBER,           /* constants */
    NGX_HTTP_RETRY_CHAIN_OPERAND_STRING,
    NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN,
    NGX_HTTP_RETRY_CHAIN_OPERAND_NULL
} ngx_http_retry_chain_operand_e;


typedef struct {
    ngx_http_retry_chain_operand_e      type;
    ngx_http_retry_chain_json_path_t    path;      /* in a body */
    ngx_str_t                           text;      /* header, or constant */
    double                              number;    /* or 0, 1: boolean */
} ngx_http_retry_chain_operand_t;


typedef enum {
    NGX_HTTP_RETRY_CHAIN_CONDITION_AND = 0,
    NGX_HTTP_RETRY_CHAIN_CONDITION_OR,
    NGX_HTTP_RETRY_CHAIN_CONDITION_NOT,

    /* left, relation, right */

    NGX_HTTP_RETRY_CHAIN_CONDITION_STRING,
    NGX_HTTP_RETRY_CHAIN_CONDITION_NUMERIC,
    NGX_HTTP_RETRY_CHAIN_CONDITION_BOOLEAN,
    NGX_HTTP_RETRY_CHAIN_CONDITION_TIMESTAMP,
    NGX_HTTP_RETRY_CHAIN_CONDITION_ANY,            /* same type and value */
    NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES,        /* right: a pattern */

    /* left, right: the boolean that it is to be */

    NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT,
    NGX_HTTP_RETRY_CHAIN_CONDITION_IS_NULL,
    NGX_HTTP_RETRY_CHAIN_CONDITION_IS_NUMERIC,
    NGX_HTTP_RETRY_CHAIN_CONDITION_IS_STRING,
    NGX_HTTP_RETRY_CHAIN_CONDITION_IS_BOOLEAN,
    NGX_HTTP_RETRY_CHAIN_CONDITION_IS_TIMESTAMP
} ngx_http_retry_chain_condition_e;


typedef enum {
    NGX_HTTP_RETRY_CHAIN_EQUAL = 0,
    NGX_HTTP_RETRY_CHAIN_LESS,
    NGX_HTTP_RETRY_CHAIN_LESS_EQUAL,
    NGX_HTTP_RETRY_CHAIN_GREATER,
    NGX_HTTP_RETRY_CHAIN_GREATER_EQUAL
} ngx_http_retry_chain_relation_e;


struct ngx_http_retry_chain_condition_s {
    ngx_http_retry_chain_condition_e    type;

    ngx_http_retry_chain_condition_t  **list;      /* And, Or, Not */
    ngx_uint_t                          nlist;

    ngx_http_retry_chain_relation_e     relation;
    ngx_http_retry_chain_operand_t      left;
    ngx_http_retry_chain_operand_t      right;
};


/*
 * NGX_OK: it holds; NGX_DECLINED: it does not; NGX_AGAIN: that is known only
 * when the body has come.
 */
ngx_int_t ngx_http_retry_chain_condition_test(
    const ngx_http_retry_chain_condition_t *cond,
    const ngx_http_retry_chain_reply_t *reply);

/* whether a body could ever be asked for */
ngx_uint_t ngx_http_retry_chain_condition_body(
    const ngx_http_retry_chain_condition_t *cond);

/* the name that a failed attempt has in the States Language; buf: 32 bytes */
void ngx_http_retry_chain_condition_error(
    const ngx_http_retry_chain_reply_t *reply, u_char *buf, ngx_str_t *name);

/* RFC 3339, with upper case T and Z; the time in nanoseconds since 1970 */
ngx_int_t ngx_http_retry_chain_condition_time(ngx_str_t *text, int64_t *time);


#endif /* _NGX_HTTP_RETRY_CHAIN_CONDITION_H_INCLUDED_ */
