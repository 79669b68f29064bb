
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * retry_chain_status: a snapshot of all zones and chains of the configuration,
 * and its views.  What is shown of them is a table; a view walks it.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_STATUS_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_STATUS_H_INCLUDED_


#include "ngx_http_retry_chain.h"
#include "ngx_http_retry_chain_zone.h"


/* runs that one answer lists of a kind and zone, and the most of all */

#define NGX_HTTP_RETRY_CHAIN_STATUS_RUNS      50
#define NGX_HTTP_RETRY_CHAIN_STATUS_MAX_RUNS  1000


typedef struct {
    ngx_http_retry_chain_zone_t         *zone;
    uint64_t                             waiting;
    uint64_t                             lost;      /* runs of the history */
    ngx_uint_t                           first;     /* of its steps */
} ngx_http_retry_chain_status_zone_t;


typedef struct {
    ngx_http_retry_chain_zone_t         *zone;
    ngx_http_retry_chain_queue_t        *queue;
    uint64_t                             in_flight;
    uint64_t                             limited;   /* ms yet, 0: it is free */
    uint64_t                             until;     /* ms of the epoch, or 0 */
    uint64_t                             wait;      /* ms of a call, now */
    uint64_t                             half_open;
    uint64_t                             refused;   /* in a row, no time */
    uint64_t                             rate;      /* thousandths, 0: none */
    ngx_http_retry_chain_step_stats_t    stats;
} ngx_http_retry_chain_status_step_t;


typedef struct {
    ngx_http_retry_chain_chain_t        *chain;
    uint64_t                             steps;
    uint64_t                             waiting;
    ngx_http_retry_chain_chain_stats_t   stats;
    ngx_http_retry_chain_chain_stats_t   dry;
} ngx_http_retry_chain_status_chain_t;


typedef struct {
    uint64_t                             time;      /* ms of the epoch */
    ngx_uint_t                           runs;      /* to list, of a kind */
    ngx_uint_t                           left;      /* of all */

    ngx_http_retry_chain_status_zone_t  *zones;
    ngx_uint_t                           nzones;
    ngx_http_retry_chain_status_step_t  *steps;     /* zone by zone */
    ngx_uint_t                           nsteps;
    ngx_http_retry_chain_status_chain_t *chains;
    ngx_uint_t                           nchains;
} ngx_http_retry_chain_status_t;


/* a row of the table */

typedef enum {
    NGX_HTTP_RETRY_CHAIN_STATUS_ZONE = 0,
    NGX_HTTP_RETRY_CHAIN_STATUS_STEP,
    NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN
} ngx_http_retry_chain_status_scope_e;


typedef enum {
    NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER = 0,
    NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
    NGX_HTTP_RETRY_CHAIN_STATUS_TIMES
} ngx_http_retry_chain_status_type_e;


typedef struct {
    ngx_http_retry_chain_status_scope_e  scope;
    ngx_http_retry_chain_status_type_e   type;
    size_t                               offset;    /* in the snapshot */
    ngx_uint_t                           n;         /* values there */
    ngx_str_t                           *names;     /* of them, if several */
    char                                *label;     /* that tells them apart */
    char                                *key;       /* in JSON, NULL: none */
    char                                *metric;    /* likewise, unsuffixed */
    char                                *help;

    unsigned                             thousandths:1;  /* or ms: seconds */
    unsigned                             optional:1;     /* 0 is none */
    unsigned                             zoned:1;   /* needs a zone */
    unsigned                             dry:1;     /* what was foreseen */
} ngx_http_retry_chain_status_row_t;


/* a view makes buffers of the snapshot, NULL if there is no memory */

typedef ngx_chain_t *(*ngx_http_retry_chain_view_pt)(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status);

ngx_chain_t *ngx_http_retry_chain_status_json(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status);
ngx_chain_t *ngx_http_retry_chain_status_prometheus(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status);
ngx_chain_t *ngx_http_retry_chain_status_openmetrics(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status);

/* does not look at the snapshot */
ngx_chain_t *ngx_http_retry_chain_status_html(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status);

ngx_int_t ngx_http_retry_chain_status_header(ngx_http_request_t *r,
    ngx_str_t *name, ngx_str_t *value);

/* NULL if there is no memory */
ngx_http_retry_chain_status_t *ngx_http_retry_chain_status_snapshot(
    ngx_http_request_t *r);

/*
 * What an Accept header gives to a type, in thousandths, into "q" if its range
 * is more specific than "specific" says; that is set, too.
 */
void ngx_http_retry_chain_status_accept(ngx_str_t *accept, ngx_str_t *type,
    ngx_uint_t *specific, ngx_uint_t *q);

/* the retry_chain_status directive */
char *ngx_http_retry_chain_status_conf(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


extern ngx_http_retry_chain_status_row_t  ngx_http_retry_chain_status_table[];


#endif /* _NGX_HTTP_RETRY_CHAIN_STATUS_H_INCLUDED_ */
