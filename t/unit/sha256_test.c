
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* digests of texts of all lengths around a block, and of a long one */


#include "tap.h"
#include "ngx_http_retry_chain_sha256.h"


static void test_digest(const char *text, const char *expected);
static void test_length(size_t len, const char *expected);
static void digest(const u_char *data, size_t len, const char *expected);


int
main(void)
{
    test_digest("", "e3b0c44298fc1c149afbf4c8996fb924"
                "27ae41e4649b934ca495991b7852b855");
    test_digest("abc", "ba7816bf8f01cfea414140de5dae2223"
                "b00361a396177a9cb410ff61f20015ad");
    test_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039"
                "a33ce45964ff2167f6ecedd419db06c1");
    test_length(55, "9f4390f8d30c2dd92ec9f095b65e2b9a"
                "e9b0a925a5258e241c9f1e910f734318");
    test_length(56, "b35439a4ac6f0948b6d6f9e3c6af0f5f"
                "590ce20f1bde7090ef7970686ec6738a");
    test_length(63, "7d3e74a05d7db15bce4ad9ec0658ea98"
                "e3f06eeecf16b4c6fff2da457ddc2f34");
    test_length(64, "ffe054fe7ae0cb6dc65c3af9b61d5209"
                "f439851db43d0ba5997337df154668eb");
    test_length(65, "635361c48bb9eab14198e76ea8ab7f1a"
                "41685d6ad62aa9146d301d4f17eb0ae0");
    test_length(119, "31eba51c313a5c08226adf18d4a359cf"
                "dfd8d2e816b13f4af952f7ea6584dcfb");
    test_length(120, "2f3d335432c70b580af0e8e1b3674a7c"
                "020d683aa5f73aaaedfdc55af904c21c");
    test_length(128, "6836cf13bac400e9105071cd6af47084"
                "dfacad4e5e302c94bfed24e013afb73e");
    test_length(1000000, "cdc76e5c9914fb9281a1c7e284d73e67"
                "f1809a48a497200e046d39ccc7112cd0");

    return done_testing();
}


static void
test_digest(const char *text, const char *expected)
{
    digest((const u_char *) text, strlen(text), expected);
}


static void
test_length(size_t len, const char *expected)
{
    u_char  *data;

    data = ngx_palloc(tap_pool(), len);
    memset(data, 'a', len);

    digest(data, len, expected);
}


static void
digest(const u_char *data, size_t len, const char *expected)
{
    u_char     sum[NGX_HTTP_RETRY_CHAIN_SHA256_LEN];
    u_char     hex[2 * NGX_HTTP_RETRY_CHAIN_SHA256_LEN];
    ngx_str_t  text;

    ngx_http_retry_chain_sha256(sum, data, len);

    text.data = hex;
    text.len = ngx_hex_dump(hex, sum, sizeof(sum)) - hex;

    is_str(&text, expected, "%lu bytes", (unsigned long) len);
}
