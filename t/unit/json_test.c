
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include "tap.h"
#include "ngx_http_retry_chain_json.h"


static void test_parse(void);
static void test_paths(void);
static void test_lookup(void);
static void test_numbers(void);
static void test_rules(void);

static cJSON *parse(const char *text);
static void set(ngx_str_t *str, const char *text);


int
main(void)
{
    test_parse();
    test_paths();
    test_lookup();
    test_numbers();
    test_rules();

    return done_testing();
}


static void
test_parse(void)
{
    char                              *copy;
    cJSON                             *json;
    size_t                             i, len;
    ngx_int_t                          rc;
    ngx_str_t                          text;
    ngx_http_retry_chain_json_error_t  err;

    static struct {
        const char  *text;
        const char  *reason;       /* NULL: it is JSON */
        size_t       offset;
    } cases[] = {
        { "{}", NULL, 0 },
        { " [1, \"a\", null, true] \r\n\t", NULL, 0 },
        { "\"x\"", NULL, 0 },
        { "-1.5e3", NULL, 0 },
        { "{\"a\":{\"b\":[[[]]]}}", NULL, 0 },
        { "\"\\\"[[[\"", NULL, 0 },
        { "\xef\xbb\xbf{}", NULL, 0 },

        { "", "invalid JSON", 0 },
        { " ", "invalid JSON", 0 },
        { "{", "unexpected end", 1 },
        { "{\"a\":1,", "unexpected end", 7 },
        { "{\"a\":1,}", "invalid JSON", 7 },
        { "{\"a\":", "unexpected end", 5 },
        { "{\"a\"", "unexpected end", 4 },
        { "[1,", "unexpected end", 3 },
        { "[1,]", "invalid JSON", 3 },
        { "\"abc", "unexpected end", 4 },
        { "\"abc\\", "unexpected end", 5 },
        { "\"abc\\\"", "unexpected end", 6 },
        { "]", "invalid JSON", 0 },
        { "{]", "invalid JSON", 1 },
        { "[}", "invalid JSON", 1 },
        { "nul", "invalid JSON", 0 },
        { "{} x", "bytes after the end of the JSON", 3 },
        { "[][]", "bytes after the end of the JSON", 2 },
        { "\"a\nb\"", "control character", 2 },
        { "\"a\\\nb\"", "control character", 2 },
        { "[\x01]", "control character", 1 },
        { "'a'", "invalid JSON", 0 },
        { "{a:1}", "invalid JSON", 1 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        /* the text ends where its memory does */

        len = strlen(cases[i].text);
        copy = malloc(len ? len : 1);
        memcpy(copy, cases[i].text, len);

        text.data = (u_char *) copy;
        text.len = len;
        json = NULL;

        rc = ngx_http_retry_chain_json_parse(&text, 64, &json, &err);

        if (cases[i].reason == NULL) {
            is_int(rc, NGX_OK, "text %u is JSON", (unsigned) i);

        } else {
            is_int(rc, NGX_DECLINED, "text %u is not", (unsigned) i);
            ok(json == NULL && strcmp(err.reason, cases[i].reason) == 0,
               "%s", cases[i].reason);

            if (strcmp(err.reason, "unexpected end") == 0
                || strcmp(err.reason, "control character") == 0)
            {
                ok(err.offset + 1 >= cases[i].offset
                   && err.offset <= cases[i].offset + 1, "about where");
            }
        }

        cJSON_Delete(json);
        free(copy);
    }

    set(&text, "[1, 2, 3]");

    is_int(ngx_http_retry_chain_json_parse(&text, 9, &json, &err), NGX_OK,
           "a text of 9 bytes");
    cJSON_Delete(json);

    is_int(ngx_http_retry_chain_json_parse(&text, 8, &json, &err),
           NGX_DECLINED, "is more than 8");
    ok(strcmp(err.reason, "too large") == 0, "too large");

    text.data = malloc(200);

    for (i = 64; i <= 65; i++) {
        memset(text.data, '[', i);
        memset(text.data + i, ']', i);
        text.len = 2 * i;

        rc = ngx_http_retry_chain_json_parse(&text, 200, &json, &err);

        is_int(rc, i == 64 ? NGX_OK : NGX_DECLINED, "%u deep", (unsigned) i);

        if (rc == NGX_OK) {
            cJSON_Delete(json);
        }
    }

    ok(strcmp(err.reason, "nested too deeply") == 0, "nested too deeply");

    free(text.data);
}


static void
test_paths(void)
{
    size_t                             i;
    ngx_int_t                          rc;
    ngx_str_t                          text;
    ngx_http_retry_chain_json_path_t   path;
    ngx_http_retry_chain_json_error_t  err;

    static struct {
        const char  *text;
        ngx_uint_t   nkeys;
        const char  *reason;
        size_t       offset;
    } cases[] = {
        { "$", 0, NULL, 0 },
        { "$.a", 1, NULL, 0 },
        { "$.a.b-c.d_e.$f", 4, NULL, 0 },
        { "$['a b'][\"c\"][12].d", 4, NULL, 0 },
        { "$['it\\'s']", 1, NULL, 0 },
        { "$['']", 1, NULL, 0 },
        { "$.\xc3\xa4", 1, NULL, 0 },
        { "$[0][1][999999]", 3, NULL, 0 },

        { "", 0, "a path begins with \"$\"", 0 },
        { "a", 0, "a path begins with \"$\"", 0 },
        { ".a", 0, "a path begins with \"$\"", 0 },
        { "$a", 0, "\".\" or \"[\" expected", 1 },
        { "$.a]", 0, "unexpected character", 3 },
        { "$.", 0, "a name expected", 2 },
        { "$..a", 0, "a name expected", 2 },
        { "$.a.", 0, "a name expected", 4 },
        { "$.*", 0, "unexpected character", 2 },
        { "$.a b", 0, "unexpected character", 3 },
        { "$[", 0, "a number or a quoted name expected", 2 },
        { "$[]", 0, "a number or a quoted name expected", 2 },
        { "$[*]", 0, "a number or a quoted name expected", 2 },
        { "$[-1]", 0, "a number or a quoted name expected", 2 },
        { "$[?(@.a)]", 0, "a number or a quoted name expected", 2 },
        { "$[1:2]", 0, "\"]\" expected", 3 },
        { "$[1", 0, "\"]\" expected", 3 },
        { "$['a'", 0, "\"]\" expected", 5 },
        { "$['a", 0, "the closing quote is missing", 4 },
        { "$['a\\", 0, "the closing quote is missing", 5 },
        { "$['a\n']", 0, "control character", 4 },
        { "$[1000000]", 0, "the number is too large", 9 },
        { "$[1]x", 0, "\".\" or \"[\" expected", 4 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set(&text, cases[i].text);

        rc = ngx_http_retry_chain_json_path(tap_pool(), &text, &path, &err);

        if (cases[i].reason == NULL) {
            is_int(rc, NGX_OK, "%s", cases[i].text);
            is_int(path.nkeys, cases[i].nkeys, "its keys");
            continue;
        }

        is_int(rc, NGX_DECLINED, "path %u is none", (unsigned) i);
        ok(strcmp(err.reason, cases[i].reason) == 0, "%s", cases[i].reason);
        is_int(err.offset, cases[i].offset, "its place");
    }
}


static void
test_lookup(void)
{
    cJSON                             *json, *found;
    char                              *printed;
    size_t                             i;
    ngx_str_t                          text;
    ngx_http_retry_chain_json_path_t   path;
    ngx_http_retry_chain_json_error_t  err;

    static struct {
        const char  *path;
        const char  *value;        /* NULL: there is none */
    } cases[] = {
        { "$.a", "1" },
        { "$['a']", "1" },
        { "$.A", NULL },
        { "$.b.c[1]", "\"x\"" },
        { "$.b.c[2]", NULL },
        { "$.b[0]", NULL },
        { "$.a.b", NULL },
        { "$.b['d e']", "null" },
        { "$.b[\"it's\"]", "true" },
        { "$.b['it\\'s']", "true" },
        { "$[0]", NULL },
        { "$.b.c[0][0].z", "[]" }
    };

    json = parse("{\"a\": 1, \"b\": {\"c\": [[{\"z\": []}], \"x\"], "
                 "\"d e\": null, \"it's\": true}}");

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set(&text, cases[i].path);

        (void) ngx_http_retry_chain_json_path(tap_pool(), &text, &path, &err);

        found = ngx_http_retry_chain_json_lookup(json, &path);
        printed = found ? cJSON_PrintUnformatted(found) : NULL;

        ok(cases[i].value ? printed && strcmp(printed, cases[i].value) == 0
                          : found == NULL, "%s", cases[i].path);
        free(printed);
    }

    set(&text, "$");
    (void) ngx_http_retry_chain_json_path(tap_pool(), &text, &path, &err);

    ok(ngx_http_retry_chain_json_lookup(json, &path) == json, "$ is all");
    ok(ngx_http_retry_chain_json_lookup(NULL, &path) == NULL,
       "nothing is in nothing");

    cJSON_Delete(json);
}


static void
test_numbers(void)
{
    size_t     i;
    double     number;
    ngx_str_t  text;

    static const char  *good[] = {
        "0", "-0", "7", "429", "1.5", "-1.25", "1e3", "1E+3", "12e-1", "0.0"
    };
    static const char  *bad[] = {
        "", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x10", "1 ", " 1",
        "1a", "nan", "inf", "--1",
        "1234567890123456789012345678901234567890123456789012345678901234"
    };

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        set(&text, good[i]);
        number = -1;
        is_int(ngx_http_retry_chain_json_number(&text, &number), NGX_OK,
               "%s", good[i]);
        ok(number == strtod(good[i], NULL), "its value");
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        set(&text, bad[i]);
        is_int(ngx_http_retry_chain_json_number(&text, &number), NGX_DECLINED,
               "not \"%s\"", bad[i]);
    }
}


static void
test_rules(void)
{
    cJSON                             *json;
    size_t                             i;
    ngx_str_t                          args[4];
    ngx_uint_t                         n;
    ngx_http_retry_chain_json_rule_t   rules[2];
    ngx_http_retry_chain_json_error_t  err;

    static struct {
        const char  *json;
        const char  *args[4];
        ngx_int_t    matches;
    } cases[] = {
        { "{\"error\": null}", { "$.error" }, 1 },
        { "{\"errors\": 1}", { "$.error" }, 0 },
        { "[1]", { "$.error" }, 0 },
        { "{\"code\": 429}", { "$.code", "429" }, 1 },
        { "{\"code\": 429.0}", { "$.code", "429" }, 1 },
        { "{\"code\": 4.29e2}", { "$.code", "429" }, 1 },
        { "{\"code\": \"429\"}", { "$.code", "429" }, 1 },
        { "{\"code\": \"429.0\"}", { "$.code", "429" }, 0 },
        { "{\"code\": 430}", { "$.code", "429" }, 0 },
        { "{\"code\": 430}", { "$.code", "429", "430" }, 1 },
        { "{\"code\": 429}", { "$.code", "429x" }, 0 },
        { "{\"ok\": false}", { "$.ok", "false" }, 1 },
        { "{\"ok\": true}", { "$.ok", "false" }, 0 },
        { "{\"ok\": true}", { "$.ok", "true" }, 1 },
        { "{\"ok\": \"true\"}", { "$.ok", "true" }, 1 },
        { "{\"ok\": null}", { "$.ok", "null" }, 1 },
        { "{\"ok\": 0}", { "$.ok", "false" }, 0 },
        { "{\"s\": \"Busy\"}", { "$.s", "busy" }, 0 },
        { "{\"s\": \"busy\"}", { "$.s", "idle", "busy" }, 1 },
        { "{\"s\": \"\"}", { "$.s", "" }, 1 },
        { "{\"s\": {}}", { "$.s", "x" }, 0 },
        { "{\"s\": {}}", { "$.s" }, 1 },
        { "[[{\"a\": 1}]]", { "$[0][0].a", "1" }, 1 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        for (n = 0; n < 4 && cases[i].args[n]; n++) {
            set(&args[n], cases[i].args[n]);
        }

        is_int(ngx_http_retry_chain_json_rule(tap_pool(), args, n, &rules[0],
                                              &err),
               NGX_OK, "rule %s %s", cases[i].args[0],
               n > 1 ? cases[i].args[1] : "");

        json = parse(cases[i].json);

        is_int(ngx_http_retry_chain_json_match(rules, 1, json) == 0,
               cases[i].matches, "%s %s", cases[i].matches ? "is in"
                                                           : "is not in",
               cases[i].json);
        cJSON_Delete(json);
    }

    set(&args[0], "$.a");
    (void) ngx_http_retry_chain_json_rule(tap_pool(), args, 1, &rules[0],
                                          &err);
    set(&args[0], "$.b");
    (void) ngx_http_retry_chain_json_rule(tap_pool(), args, 1, &rules[1],
                                          &err);
    is_str(&rules[1].text, "$.b", "a rule knows its path");

    json = parse("{\"b\": 1}");
    is_int(ngx_http_retry_chain_json_match(rules, 2, json), 1,
           "which of two it is");
    is_int(ngx_http_retry_chain_json_match(rules, 1, json), NGX_DECLINED,
           "or none");
    cJSON_Delete(json);

    set(&args[0], "$.");
    is_int(ngx_http_retry_chain_json_rule(tap_pool(), args, 1, &rules[0],
                                          &err),
           NGX_DECLINED, "a rule with a path that is none");
}


static cJSON *
parse(const char *text)
{
    cJSON                              *json;
    ngx_str_t                           str;
    ngx_http_retry_chain_json_error_t   err;

    set(&str, text);

    if (ngx_http_retry_chain_json_parse(&str, 1000, &json, &err) != NGX_OK) {
        ok(0, "%s", text);
        return NULL;
    }

    return json;
}


static void
set(ngx_str_t *str, const char *text)
{
    str->data = (u_char *) text;
    str->len = ngx_strlen(text);
}
