
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_history.h"


/* the sequence word: who writes, how often it was written, whether it is now */

#define NGX_HTTP_RETRY_CHAIN_HISTORY_BUSY   1
#define NGX_HTTP_RETRY_CHAIN_HISTORY_MASK   ((ngx_atomic_uint_t) 0xfffffffe)
#define NGX_HTTP_RETRY_CHAIN_HISTORY_SHIFT  32

/* the fastest of the slowest is looked for this often, or for a slower one */

#define NGX_HTTP_RETRY_CHAIN_HISTORY_TIME   1000


static ngx_int_t ngx_http_retry_chain_history_put(
    ngx_http_retry_chain_history_entry_t *entry,
    const ngx_http_retry_chain_history_run_t *run, ngx_pid_t pid);
static void ngx_http_retry_chain_history_copy(
    ngx_http_retry_chain_history_run_t *to,
    const ngx_http_retry_chain_history_run_t *from);


size_t
ngx_http_retry_chain_history_text(ngx_http_retry_chain_history_run_t *run,
    const u_char *data, size_t len, size_t max)
{
    len = ngx_min(len, max);
    len = ngx_min(len, sizeof(run->text) - run->len);

    if (len) {
        ngx_memcpy(&run->text[run->len], data, len);
        run->len += (uint16_t) len;
    }

    return len;
}


void
ngx_http_retry_chain_history_write(ngx_http_retry_chain_history_t *ring,
    const ngx_http_retry_chain_history_run_t *run, ngx_pid_t pid)
{
    ngx_atomic_uint_t  n;

    if (ring->size == 0) {
        return;
    }

    n = ngx_atomic_fetch_add(&ring->head, 1);

    if (ngx_http_retry_chain_history_put(&ring->entries[n % ring->size], run,
                                         pid)
        != NGX_OK)
    {
        (void) ngx_atomic_fetch_add(&ring->lost, 1);
    }
}


void
ngx_http_retry_chain_history_slow(ngx_http_retry_chain_history_t *ring,
    const ngx_http_retry_chain_history_run_t *run, ngx_msec_t age,
    ngx_pid_t pid)
{
    uint64_t                               least, time;
    ngx_uint_t                             i, best;
    ngx_http_retry_chain_history_entry_t  *entry;

    if (ring->size == 0
        || (run->duration < ring->least
            && run->time - ring->seen < NGX_HTTP_RETRY_CHAIN_HISTORY_TIME))
    {
        return;
    }

    best = 0;
    least = (uint64_t) -1;

    for (i = 0; i < ring->size && least; i++) {
        entry = &ring->entries[i];

        time = (entry->sequence == 0 || run->time - entry->run.time > age)
               ? 0 : (uint64_t) entry->run.duration + 1;

        if (time < least) {
            least = time;
            best = i;
        }
    }

    ring->least = least;
    ring->seen = run->time;

    if (run->duration < least) {
        return;
    }

    if (ngx_http_retry_chain_history_put(&ring->entries[best], run, pid)
        != NGX_OK)
    {
        (void) ngx_atomic_fetch_add(&ring->lost, 1);
        return;
    }

    (void) ngx_atomic_fetch_add(&ring->head, 1);
}


static ngx_int_t
ngx_http_retry_chain_history_put(ngx_http_retry_chain_history_entry_t *entry,
    const ngx_http_retry_chain_history_run_t *run, ngx_pid_t pid)
{
    ngx_pid_t          owner;
    ngx_atomic_uint_t  old, busy, next;

    old = entry->sequence;

    if (old & NGX_HTTP_RETRY_CHAIN_HISTORY_BUSY) {
        owner = (ngx_pid_t) (old >> NGX_HTTP_RETRY_CHAIN_HISTORY_SHIFT);

        /* another one that has not finished yet, unless it was killed */

        if (owner != pid && (kill(owner, 0) == 0 || ngx_errno != NGX_ESRCH)) {
            return NGX_DECLINED;
        }
    }

    next = ((old & NGX_HTTP_RETRY_CHAIN_HISTORY_MASK) + 2)
           & NGX_HTTP_RETRY_CHAIN_HISTORY_MASK;

    if (next == 0) {
        next = 2;
    }

    busy = next | NGX_HTTP_RETRY_CHAIN_HISTORY_BUSY
           | (ngx_atomic_uint_t) pid << NGX_HTTP_RETRY_CHAIN_HISTORY_SHIFT;

    if (!ngx_atomic_cmp_set(&entry->sequence, old, busy)) {
        return NGX_DECLINED;
    }

    ngx_http_retry_chain_history_copy(&entry->run, run);

    ngx_memory_barrier();

    entry->sequence = next;

    return NGX_OK;
}


/* lengths may be those of an entry that is being written */

static void
ngx_http_retry_chain_history_copy(ngx_http_retry_chain_history_run_t *to,
    const ngx_http_retry_chain_history_run_t *from)
{
    ngx_uint_t  n, len;

    ngx_memcpy(to, from, offsetof(ngx_http_retry_chain_history_run_t, tries));

    n = ngx_min(to->kept, NGX_HTTP_RETRY_CHAIN_ENTRY_ATTEMPTS);
    len = ngx_min(to->len, sizeof(to->text));

    ngx_memcpy(to->tries, from->tries,
               n * sizeof(ngx_http_retry_chain_history_attempt_t));
    ngx_memcpy(to->text, from->text, len);
}


ngx_int_t
ngx_http_retry_chain_history_read(ngx_http_retry_chain_history_t *ring,
    ngx_uint_t i, ngx_http_retry_chain_history_run_t *run)
{
    ngx_atomic_uint_t                      before, head;
    ngx_http_retry_chain_history_entry_t  *entry;

    head = ring->head;

    if (i >= ring->size || i >= head) {
        return NGX_DECLINED;
    }

    entry = &ring->entries[(head - 1 - i) % ring->size];

    before = entry->sequence;

    if (before == 0 || (before & NGX_HTTP_RETRY_CHAIN_HISTORY_BUSY)) {
        return NGX_DECLINED;
    }

    ngx_memory_barrier();

    ngx_http_retry_chain_history_copy(run, &entry->run);

    ngx_memory_barrier();

    return entry->sequence == before ? NGX_OK : NGX_DECLINED;
}
