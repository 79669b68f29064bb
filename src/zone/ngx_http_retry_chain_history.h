
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Recent runs, in memory that all workers share.  A run is an entry of a fixed
 * size; a ring overwrites its oldest entries.  There is no lock: an entry is
 * claimed by a compare-and-swap of its sequence word, which is odd while it is
 * being written and names its writer, so that another one may take over what a
 * killed worker has left.  A reader copies an entry and looks at the word
 * before and after it.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_HISTORY_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_HISTORY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_HTTP_RETRY_CHAIN_ENTRY_ATTEMPTS  8

/* texts are cut to so many bytes */

#define NGX_HTTP_RETRY_CHAIN_METHOD_LEN      16
#define NGX_HTTP_RETRY_CHAIN_HOST_LEN        64
#define NGX_HTTP_RETRY_CHAIN_URI_LEN         256
#define NGX_HTTP_RETRY_CHAIN_ADDRESS_LEN     44


typedef struct {
    uint64_t        bytes;       /* received */
    uint32_t        step;        /* id of the node */
    uint32_t        wait;        /* before it, ms */
    uint32_t        time;        /* to its verdict, ms */
    uint16_t        status;
    u_char          outcome;     /* as of the plan */
    u_char          reason;      /* of the wait */
    u_char          next;        /* what came of it, as of the record */
    u_char          address;     /* length of the text */
} ngx_http_retry_chain_history_attempt_t;


typedef struct {
    uint64_t        number;      /* of the run in its zone */
    uint64_t        time;        /* of the end, ms of the epoch */

    uint32_t        chain;       /* id of the node */
    uint32_t        duration;    /* ms */
    uint16_t        status;      /* that the client got */
    uint16_t        attempts;    /* all that were made */
    u_char          result;
    u_char          kept;        /* attempts of this entry */

    u_char          cut:1;       /* the URI is */

    u_char          method;      /* lengths of texts */
    u_char          host;
    uint16_t        uri;
    uint16_t        len;         /* of all texts */

    ngx_http_retry_chain_history_attempt_t
                    tries[NGX_HTTP_RETRY_CHAIN_ENTRY_ATTEMPTS];

    /* method, host, URI and the addresses of attempts, without zeroes */
    u_char          text[NGX_HTTP_RETRY_CHAIN_METHOD_LEN
                         + NGX_HTTP_RETRY_CHAIN_HOST_LEN
                         + NGX_HTTP_RETRY_CHAIN_URI_LEN
                         + NGX_HTTP_RETRY_CHAIN_ENTRY_ATTEMPTS
                           * NGX_HTTP_RETRY_CHAIN_ADDRESS_LEN];
} ngx_http_retry_chain_history_run_t;


typedef struct {
    ngx_atomic_t                         sequence;
    ngx_http_retry_chain_history_run_t   run;
} ngx_http_retry_chain_history_entry_t;


typedef struct {
    ngx_atomic_t                          head;  /* entries written so far */
    ngx_atomic_t                          lost;  /* others were in the way */
    ngx_uint_t                            size;  /* in entries */
    ngx_atomic_t                          least; /* of the slowest, ms + 1 */
    ngx_atomic_t                          seen;  /* when that was found out */
    ngx_http_retry_chain_history_entry_t *entries;
} ngx_http_retry_chain_history_t;


/* appends a text of at most "max" bytes; returns how many of them were taken */
size_t ngx_http_retry_chain_history_text(
    ngx_http_retry_chain_history_run_t *run, const u_char *data, size_t len,
    size_t max);

/* the entry takes the place of the oldest one; "pid" is the caller's */
void ngx_http_retry_chain_history_write(ngx_http_retry_chain_history_t *ring,
    const ngx_http_retry_chain_history_run_t *run, ngx_pid_t pid);

/*
 * The entry takes the place of the fastest one if it is slower.  What is older
 * than "age" ms makes way for any.
 */
void ngx_http_retry_chain_history_slow(ngx_http_retry_chain_history_t *ring,
    const ngx_http_retry_chain_history_run_t *run, ngx_msec_t age,
    ngx_pid_t pid);

/*
 * Copies the "i"-th entry, 0 is the latest one of history_write(); NGX_DECLINED
 * if there is none or it is being written.
 */
ngx_int_t ngx_http_retry_chain_history_read(
    ngx_http_retry_chain_history_t *ring, ngx_uint_t i,
    ngx_http_retry_chain_history_run_t *run);


#endif /* _NGX_HTTP_RETRY_CHAIN_HISTORY_H_INCLUDED_ */
