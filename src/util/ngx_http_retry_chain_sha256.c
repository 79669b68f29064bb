
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_sha256.h"


#define NGX_HTTP_RETRY_CHAIN_SHA256_BLOCK  64


static void ngx_http_retry_chain_sha256_block(uint32_t *state,
    const u_char *block);


#define ngx_http_retry_chain_sha256_turn(x, n)                                \
    ((x) >> (n) | (x) << (32 - (n)))


/* of the cube roots of the first 64 primes, the first bits of the fractions */

static const uint32_t  ngx_http_retry_chain_sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
};


/* of the square roots of the first eight, likewise */

static const uint32_t  ngx_http_retry_chain_sha256_state[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
    0x1f83d9ab, 0x5be0cd19
};


void
ngx_http_retry_chain_sha256(u_char *digest, const u_char *data, size_t len)
{
    size_t       rest;
    u_char       last[2 * NGX_HTTP_RETRY_CHAIN_SHA256_BLOCK];
    uint32_t     state[8];
    uint64_t     bits;
    ngx_uint_t   i, blocks;

    bits = (uint64_t) len * 8;

    ngx_memcpy(state, ngx_http_retry_chain_sha256_state, sizeof(state));

    for (rest = len;
         rest >= NGX_HTTP_RETRY_CHAIN_SHA256_BLOCK;
         rest -= NGX_HTTP_RETRY_CHAIN_SHA256_BLOCK)
    {
        ngx_http_retry_chain_sha256_block(state, data);
        data += NGX_HTTP_RETRY_CHAIN_SHA256_BLOCK;
    }

    /* a one, zeroes, and the number of bits at the end of a block */

    ngx_memzero(last, sizeof(last));
    ngx_memcpy(last, data, rest);
    last[rest] = 0x80;

    blocks = rest < NGX_HTTP_RETRY_CHAIN_SHA256_BLOCK - 8 ? 1 : 2;

    for (i = 1; i <= 8; i++) {
        last[blocks * NGX_HTTP_RETRY_CHAIN_SHA256_BLOCK - i] = (u_char) bits;
        bits >>= 8;
    }

    for (i = 0; i < blocks; i++) {
        ngx_http_retry_chain_sha256_block(state,
                                last + i * NGX_HTTP_RETRY_CHAIN_SHA256_BLOCK);
    }

    for (i = 0; i < NGX_HTTP_RETRY_CHAIN_SHA256_LEN; i++) {
        digest[i] = (u_char) (state[i / 4] >> (24 - i % 4 * 8));
    }
}


static void
ngx_http_retry_chain_sha256_block(uint32_t *state, const u_char *block)
{
    uint32_t    s, t, w[64], v[8];
    ngx_uint_t  i;

    for (i = 0; i < 16; i++) {
        w[i] = (uint32_t) block[4 * i] << 24 | (uint32_t) block[4 * i + 1] << 16
               | (uint32_t) block[4 * i + 2] << 8 | block[4 * i + 3];
    }

    for (i = 16; i < 64; i++) {
        s = w[i - 15];
        t = w[i - 2];

        s = ngx_http_retry_chain_sha256_turn(s, 7)
            ^ ngx_http_retry_chain_sha256_turn(s, 18) ^ s >> 3;
        t = ngx_http_retry_chain_sha256_turn(t, 17)
            ^ ngx_http_retry_chain_sha256_turn(t, 19) ^ t >> 10;

        w[i] = w[i - 16] + s + w[i - 7] + t;
    }

    ngx_memcpy(v, state, sizeof(v));

    for (i = 0; i < 64; i++) {
        t = v[7] + ngx_http_retry_chain_sha256_k[i] + w[i]
            + (ngx_http_retry_chain_sha256_turn(v[4], 6)
               ^ ngx_http_retry_chain_sha256_turn(v[4], 11)
               ^ ngx_http_retry_chain_sha256_turn(v[4], 25))
            + ((v[4] & v[5]) ^ (~v[4] & v[6]));

        s = (ngx_http_retry_chain_sha256_turn(v[0], 2)
             ^ ngx_http_retry_chain_sha256_turn(v[0], 13)
             ^ ngx_http_retry_chain_sha256_turn(v[0], 22))
            + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

        ngx_memmove(&v[1], &v[0], 7 * sizeof(uint32_t));

        v[4] += t;
        v[0] = t + s;
    }

    for (i = 0; i < 8; i++) {
        state[i] += v[i];
    }
}
