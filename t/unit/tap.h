
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#ifndef _TAP_H_INCLUDED_
#define _TAP_H_INCLUDED_


/*
 * a unit test is a program that says TAP:
 *
 *     int
 *     main(void)
 *     {
 *         ok(1 + 1 == 2, "addition of %d", 1);
 *         is_int(f(2), 4, "a square");
 *         is_str(&name, "first", "the name of the first step");
 *
 *         return done_testing();
 *     }
 */


#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <ngx_config.h>
#include <ngx_core.h>


/* of stub.c: a pool that lives until done_testing() */
ngx_pool_t *tap_pool(void);
void tap_free_pool(void);


static int  tap_count;
static int  tap_failed;


#define ok(cond, ...)                                                        \
    tap_ok((cond) ? 1 : 0, __FILE__, __LINE__, __VA_ARGS__)

#define is_int(got, expected, ...)                                           \
    tap_is_int((long long) (got), (long long) (expected), __FILE__,          \
               __LINE__, __VA_ARGS__)

#define is_str(got, expected, ...)                                           \
    tap_is_str((got), (expected), __FILE__, __LINE__, __VA_ARGS__)


static inline int tap_ok(int pass, const char *file, int line,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static inline int tap_is_int(long long got, long long expected,
    const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static inline int tap_is_str(ngx_str_t *got, const char *expected,
    const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));


static inline int
tap_say(int pass, const char *file, int line, const char *fmt, va_list args)
{
    tap_count++;

    printf("%sok %d - ", pass ? "" : "not ", tap_count);
    vprintf(fmt, args);
    printf("\n");

    if (!pass) {
        tap_failed++;
        printf("#   failed at %s line %d\n", file, line);
    }

    fflush(stdout);

    return pass;
}


static inline int
tap_ok(int pass, const char *file, int line, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    tap_say(pass, file, line, fmt, args);
    va_end(args);

    return pass;
}


static inline int
tap_is_int(long long got, long long expected, const char *file, int line,
    const char *fmt, ...)
{
    int      pass;
    va_list  args;

    pass = (got == expected);

    va_start(args, fmt);
    tap_say(pass, file, line, fmt, args);
    va_end(args);

    if (!pass) {
        printf("#   got %lld, expected %lld\n", got, expected);
    }

    return pass;
}


static inline int
tap_is_str(ngx_str_t *got, const char *expected, const char *file, int line,
    const char *fmt, ...)
{
    int      pass;
    va_list  args;

    pass = (got->len == strlen(expected)
            && (got->len == 0
                || memcmp(got->data, expected, got->len) == 0));

    va_start(args, fmt);
    tap_say(pass, file, line, fmt, args);
    va_end(args);

    if (!pass) {
        printf("#   got \"%.*s\", expected \"%s\"\n", (int) got->len,
               got->data, expected);
    }

    return pass;
}


static inline int
done_testing(void)
{
    tap_free_pool();

    printf("1..%d\n", tap_count);

    return tap_failed ? 1 : 0;
}


/* a generator of its own, so that a failure can be repeated */

static inline uint64_t
noise64(void)
{
    static uint64_t  x = 88172645463325252ull;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;

    return x;
}


static inline uint32_t
noise(void)
{
    return noise64() >> 32;
}


#endif /* _TAP_H_INCLUDED_ */
