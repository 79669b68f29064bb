
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_learn.h"


#define NGX_HTTP_RETRY_CHAIN_SECOND    1000000

/* calls are counted over a minute at the most: a limit may change */

#define NGX_HTTP_RETRY_CHAIN_MEMORY    (60 * (uint64_t) 1000000)

/* what is known of so long a time is given up if twice as many come now */

#define NGX_HTTP_RETRY_CHAIN_RECENT    1000000

/*
 * the pace is raised in steps, stays under the limit for this long, and is
 * raised twice as fast after every further turn
 */

#define NGX_HTTP_RETRY_CHAIN_GROW      100000
#define NGX_HTTP_RETRY_CHAIN_PLATEAU   (20 * (uint64_t) 1000000)
#define NGX_HTTP_RETRY_CHAIN_TURN      (5 * (uint64_t) 1000000)
#define NGX_HTTP_RETRY_CHAIN_TURNS     10

/* fewer calls than that say nothing */

#define NGX_HTTP_RETRY_CHAIN_FEW       3

/* in percent of the estimated limit: the pace after a refusal, and the most */

#define NGX_HTTP_RETRY_CHAIN_BACK      96
#define NGX_HTTP_RETRY_CHAIN_BELOW     98

/* in percent of the pace that was refused beyond the limit: the least */

#define NGX_HTTP_RETRY_CHAIN_BEYOND    80


static ngx_uint_t ngx_http_retry_chain_learn_busier(
    ngx_http_retry_chain_learned_t *learned, uint64_t now);
static void ngx_http_retry_chain_learn_again(
    ngx_http_retry_chain_learned_t *learned, uint64_t now, uint64_t block);
static ngx_uint_t ngx_http_retry_chain_learn_guided(
    ngx_http_retry_chain_learned_t *learned, uint64_t calls, uint64_t time);
static ngx_uint_t ngx_http_retry_chain_learn_rate(uint64_t calls,
    uint64_t time);
static ngx_uint_t ngx_http_retry_chain_learn_middle(ngx_uint_t low,
    ngx_uint_t high);


void
ngx_http_retry_chain_learn_accepted(ngx_http_retry_chain_learned_t *learned,
    uint64_t now, uint64_t sent)
{
    uint64_t           time;
    ngx_atomic_uint_t  since;

    since = learned->since;

    if (since == 0) {
        since = ngx_max(sent, 1);
        (void) ngx_atomic_cmp_set(&learned->since, 0, since);
        learned->mark = since;
        learned->marked = 0;
    }

    (void) ngx_atomic_fetch_add(&learned->calls, 1);

    if (now >= learned->mark + NGX_HTTP_RETRY_CHAIN_RECENT) {

        if (ngx_http_retry_chain_learn_busier(learned, now)) {
            learned->calls -= learned->marked;
            learned->since = learned->mark;
        }

        learned->mark = now;
        learned->marked = learned->calls;

        since = learned->since;
    }

    time = now > since ? now - since : 0;

    if (time > NGX_HTTP_RETRY_CHAIN_MEMORY
        && ngx_atomic_cmp_set(&learned->since, since, now - time / 2))
    {
        learned->calls /= 2;
        learned->mark = now;
        learned->marked = learned->calls;
    }
}


/* after a quiet time its calls do not tell what the upstream may do */

static ngx_uint_t
ngx_http_retry_chain_learn_busier(ngx_http_retry_chain_learned_t *learned,
    uint64_t now)
{
    ngx_uint_t         before, recent;
    ngx_atomic_uint_t  calls, mark, marked, since;

    calls = learned->calls;
    mark = learned->mark;
    marked = learned->marked;
    since = learned->since;

    if (calls < marked + NGX_HTTP_RETRY_CHAIN_FEW || now <= mark
        || mark <= since)
    {
        return 0;
    }

    before = ngx_http_retry_chain_learn_rate(marked, mark - since);
    recent = ngx_http_retry_chain_learn_rate(calls - marked, now - mark);

    return recent > 2 * before;
}


void
ngx_http_retry_chain_learn_limit(ngx_http_retry_chain_learned_t *learned,
    uint64_t now, uint64_t block)
{
    uint64_t           calls, time;
    ngx_uint_t         rate, limit;
    ngx_atomic_uint_t  since;

    since = learned->since;
    calls = learned->calls;

    learned->pressed = 0;

    if (since == 0 || since >= now || calls < NGX_HTTP_RETRY_CHAIN_FEW) {
        ngx_http_retry_chain_learn_again(learned, now, block);
        return;
    }

    if (ngx_http_retry_chain_learn_busier(learned, now)) {
        calls -= learned->marked;
        since = learned->mark;
    }

    learned->since = 0;
    learned->calls = 0;

    time = now - since;

    if (!ngx_http_retry_chain_learn_guided(learned, calls, time)) {
        learned->last_calls = 0;
    }

    limit = ngx_http_retry_chain_learn_estimate(calls, time, block,
                                                learned->last_calls,
                                                learned->last_time);

    /* beyond the old limit the mean of some time is far behind the pace */

    rate = learned->rate;

    if (rate > learned->ceiling) {
        limit = ngx_max(limit, rate * NGX_HTTP_RETRY_CHAIN_BEYOND / 100);
    }

    learned->ceiling = limit;
    learned->last_calls = calls;
    learned->last_time = time;

    learned->rate = ngx_max(limit * NGX_HTTP_RETRY_CHAIN_BACK / 100,
                            NGX_HTTP_RETRY_CHAIN_MIN_PACE);
}


/*
 * A limit after no call, or a few.  What was known may be too much, unless the
 * upstream takes nothing at all: a half of it stays.  A few calls are counted
 * further on, as long as little else than limits lies between them.
 */

static void
ngx_http_retry_chain_learn_again(ngx_http_retry_chain_learned_t *learned,
    uint64_t now, uint64_t block)
{
    ngx_uint_t         rate;
    ngx_atomic_uint_t  since;

    since = learned->since;
    rate = learned->rate;

    if (since == 0) {

        if (rate > learned->ceiling / 2) {
            learned->rate = ngx_max(rate * NGX_HTTP_RETRY_CHAIN_BACK / 100,
                                    NGX_HTTP_RETRY_CHAIN_MIN_PACE);
        }

        return;
    }

    if (now <= since || (now - since) / 4 / (learned->calls + 1) > block) {
        learned->since = 0;
        learned->calls = 0;
    }
}


/*
 * The calls that the limit before lets expect; far fewer say that the vendor
 * takes less now, and that limit is no guide any more
 */

static ngx_uint_t
ngx_http_retry_chain_learn_guided(ngx_http_retry_chain_learned_t *learned,
    uint64_t calls, uint64_t time)
{
    uint64_t           seen;
    ngx_atomic_uint_t  last_time;

    seen = learned->last_calls;
    last_time = learned->last_time;

    if (seen == 0 || learned->ceiling == 0 || time >= last_time) {
        return seen != 0;
    }

    seen -= ngx_min(seen, (last_time - time) / 1000 * learned->ceiling
                          / 1000000);

    return calls >= seen * 7 / 10;
}


ngx_uint_t
ngx_http_retry_chain_learn_estimate(uint64_t calls, uint64_t time,
    uint64_t block, uint64_t last_calls, uint64_t last_time)
{
    uint64_t    more, longer;
    ngx_uint_t  high, low, slope;

    /* it is no more than what was taken, no less than that with the block */

    high = ngx_http_retry_chain_learn_rate(calls, time);
    low = ngx_http_retry_chain_learn_rate(calls, time + block);

    if (last_calls == 0) {
        return ngx_http_retry_chain_learn_middle(low, high);
    }

    if (time > last_time) {
        longer = time - last_time;
        more = calls > last_calls ? calls - last_calls : 0;

    } else {
        longer = last_time - time;
        more = last_calls > calls ? last_calls - calls : 0;
    }

    /* times that differ by little tell little */

    if (longer < ngx_max(time, last_time) / 5) {
        return ngx_http_retry_chain_learn_middle(low, high);
    }

    slope = ngx_http_retry_chain_learn_rate(more, longer);

    return ngx_min(ngx_max(slope, low), high);
}


ngx_uint_t
ngx_http_retry_chain_learn_grow(ngx_http_retry_chain_learned_t *learned,
    uint64_t now, ngx_uint_t pressed)
{
    uint64_t           passed, step;
    ngx_uint_t         rate, most, ceiling;
    ngx_atomic_uint_t  grown;

    rate = learned->rate;
    ceiling = learned->ceiling;
    grown = learned->grown;

    if (!pressed || rate == 0 || ceiling == 0) {
        return 0;
    }

    passed = now > grown ? now - grown : 0;

    if (passed < NGX_HTTP_RETRY_CHAIN_GROW
        || !ngx_atomic_cmp_set(&learned->grown, grown, now))
    {
        return 0;
    }

    /* after a time without pressure it is as if no time had passed */

    passed = ngx_min(passed, 2 * NGX_HTTP_RETRY_CHAIN_GROW);

    most = ceiling * NGX_HTTP_RETRY_CHAIN_BELOW / 100;
    step = ceiling * passed / (100 * NGX_HTTP_RETRY_CHAIN_SECOND);

    if (rate < most) {
        learned->rate = ngx_min(rate + ngx_max(step, 1), most);
        return 1;
    }

    /* under the limit, then beyond it, ever faster */

    passed = ngx_atomic_fetch_add(&learned->pressed, passed) + passed;

    if (passed < NGX_HTTP_RETRY_CHAIN_PLATEAU) {
        return 0;
    }

    passed = (passed - NGX_HTTP_RETRY_CHAIN_PLATEAU)
             / NGX_HTTP_RETRY_CHAIN_TURN;
    step = (step << ngx_min(passed, NGX_HTTP_RETRY_CHAIN_TURNS)) / 4;

    learned->rate = ngx_min(rate + ngx_max(step, 1),
                            NGX_HTTP_RETRY_CHAIN_MAX_PACE);
    return 1;
}


void
ngx_http_retry_chain_learn_remaining(ngx_http_retry_chain_learned_t *learned,
    uint64_t now, ngx_uint_t remaining, uint64_t time, ngx_uint_t pressed)
{
    ngx_uint_t         rate;
    ngx_atomic_uint_t  since;

    if (now >= learned->ends || remaining > learned->quota) {
        learned->quota = remaining;
    }

    learned->ends = now + time;

    if (!pressed && remaining > learned->quota / 2) {
        learned->bound = 0;
        return;
    }

    rate = ngx_http_retry_chain_learn_rate(remaining, time);
    since = learned->since;

    if (!pressed && since && since < now
        && ngx_http_retry_chain_learn_rate(learned->calls, now - since) < rate)
    {
        rate = 0;
    }

    learned->bound = rate;
}


ngx_uint_t
ngx_http_retry_chain_learn_pace(ngx_http_retry_chain_learned_t *learned,
    uint64_t now)
{
    ngx_atomic_uint_t  rate, bound;

    rate = learned->rate;
    bound = learned->bound;

    if (bound == 0 || now >= learned->ends) {
        return rate;
    }

    return rate ? ngx_min(rate, bound) : bound;
}


static ngx_uint_t
ngx_http_retry_chain_learn_rate(uint64_t calls, uint64_t time)
{
    uint64_t  rate;

    /* more does not fit, and says the same */

    calls = ngx_min(calls, 1000000000);
    rate = calls * 1000 * NGX_HTTP_RETRY_CHAIN_SECOND / ngx_max(time, 1);

    rate = ngx_max(rate, NGX_HTTP_RETRY_CHAIN_MIN_PACE);

    return ngx_min(rate, NGX_HTTP_RETRY_CHAIN_MAX_PACE);
}


/* the geometric mean: a first guess may be off by powers of ten */

static ngx_uint_t
ngx_http_retry_chain_learn_middle(ngx_uint_t low, ngx_uint_t high)
{
    uint64_t  square, root, bit;

    square = (uint64_t) low * high;
    root = 0;

    for (bit = (uint64_t) 1 << 31; bit; bit >>= 1) {
        if ((root + bit) * (root + bit) <= square) {
            root += bit;
        }
    }

    return root;
}
