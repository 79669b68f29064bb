
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The budget against a list of all that has happened: a retry is allowed if and
 * only if the requests and retries of the window say so.
 */


#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "ngx_http_retry_chain_budget.h"


#define MAX_EVENTS  4096

#define must(cond)  do { if (!(cond)) { abort(); } } while (0)


typedef struct {
    uint64_t  tenth;
    int       retry;
} event_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static event_t  events[MAX_EVENTS];


static uint64_t
take(const uint8_t **data, size_t *size, size_t n)
{
    uint64_t  value;

    for (value = 0; n && *size; n--) {
        value = value << 8 | *(*data)++;
        (*size)--;
    }

    return value;
}


static ngx_uint_t
allowed(const ngx_http_retry_chain_budget_conf_t *conf, size_t n,
    uint64_t tenth)
{
    size_t    i;
    uint64_t  requests, retries;

    requests = 0;
    retries = 0;

    for (i = 0; i < n; i++) {

        if (tenth - events[i].tenth >= NGX_HTTP_RETRY_CHAIN_BUDGET_PARTS) {
            continue;
        }

        requests += !events[i].retry;
        retries += events[i].retry;
    }

    return retries < requests * conf->percent / 100
                     + (uint64_t) conf->rate * conf->window / 1000000;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                              n;
    uint64_t                            now, tenth;
    ngx_int_t                           rc;
    ngx_http_retry_chain_budget_t       budget;
    ngx_http_retry_chain_budget_conf_t  conf;

    memset(&budget, 0, sizeof(budget));

    conf.percent = take(&data, &size, 2) % 1001;
    conf.rate = take(&data, &size, 4) % 100000001;
    conf.window = 100 + take(&data, &size, 4) % 2073600000;

    /* the first tenths of time are those of empty counters, too */

    now = (uint64_t) conf.window * 2 + take(&data, &size, 6);

    n = 0;

    while (size && n < MAX_EVENTS) {

        /* small steps and large ones */

        now += take(&data, &size, 1) * (take(&data, &size, 1) % 8 == 0
                                        ? conf.window / 16 + 1 : 1);

        tenth = now / (conf.window / NGX_HTTP_RETRY_CHAIN_BUDGET_PARTS);

        if (take(&data, &size, 1) & 1) {
            ngx_http_retry_chain_budget_deposit(&budget, &conf, now);

            events[n].tenth = tenth;
            events[n++].retry = 0;
            continue;
        }

        rc = ngx_http_retry_chain_budget_withdraw(&budget, &conf, now);

        must((rc == NGX_OK) == allowed(&conf, n, tenth));

        if (rc == NGX_OK) {
            events[n].tenth = tenth;
            events[n++].retry = 1;
        }
    }

    return 0;
}
