
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The machines of t/unit/machines/cases.txt: what each is compiled into or why
 * it is not, the warnings, and runs through it.  The file says how it is read.
 */


#include "tap.h"
#include "script.h"
#include "ngx_http_retry_chain_machine.h"


#define CASES        "t/unit/machines/cases.txt"
#define SEED         "conf/state-machine.json"

#define MACHINE_LEN  (64 * 1024)
#define DEADLINE     60000


#define FUNCTION  "\"Type\": \"Task\", "                                      \
                  "\"Resource\": \"arn:aws:states:::lambda:invoke\", "        \
                  "\"Parameters\": {\"FunctionName\": \"f\"}"
#define CALL      "\"Type\": \"Task\", "                                      \
                  "\"Resource\": \"arn:aws:states:::http:invoke\", "          \
                  "\"Parameters\": {\"ApiEndpoint\": "                        \
                  "\"https://api.example.com/v1\", \"Method\": \"GET\"}"


static void test_cases(void);
static void test_case(FILE *in, char *line);
static void test_seed(void);
static void test_texts(void);
static void test_limits(void);

static void add_text(char *line);
static ngx_int_t compile(void);
static void load(const char *name);
static void is_error(const char *expected, const char *name);


static char    machine[MACHINE_LEN];
static size_t  machine_len;

static ngx_http_retry_chain_plan_t             plan;
static ngx_http_retry_chain_machine_options_t  options;
static ngx_http_retry_chain_machine_result_t   result;


int
main(void)
{
    options.deadline = DEADLINE;

    test_cases();
    test_seed();
    test_texts();
    test_limits();

    return done_testing();
}


static void
test_cases(void)
{
    char   line[4096];
    FILE  *in;

    in = fopen(CASES, "r");

    if (!ok(in != NULL, CASES)) {
        return;
    }

    while (fgets(line, sizeof(line), in)) {

        if (line[0] != '#' && line[0] != '\n') {
            test_case(in, line);
        }
    }

    fclose(in);
}


static void
test_case(FILE *in, char *line)
{
    int          compiled;
    char         script[4096];
    ngx_int_t    rc;
    ngx_str_t   *warning;
    ngx_uint_t   n;

    machine_len = 0;
    n = 0;
    compiled = 0;
    rc = NGX_ERROR;
    warning = NULL;

    do {
        line[strcspn(line, "\n")] = '\0';

        if (line[0] == '\0') {
            break;
        }

        if (!compiled && strchr("~=", line[0])) {
            rc = compile();
            warning = result.warnings.elts;
            compiled = 1;
        }

        if (line[0] == '~') {
            ok(n < result.warnings.nelts, "warning %u", (unsigned) n);

            if (n < result.warnings.nelts) {
                is_str(&warning[n++], line + 2, "%s", line + 2);
            }

        } else if (strcmp(line, "=> ok") == 0) {
            is_int(rc, NGX_OK, "%.70s", machine);

            if (rc != NGX_OK) {
                printf("#   %.*s\n", (int) result.error.len,
                       result.error.data);
                return;
            }

        } else if (strncmp(line, "=> ", 3) == 0) {
            is_int(rc, NGX_DECLINED, "%.70s", machine);
            is_str(&result.error, line + 3, "its error");

        } else if (line[0] == '?') {
            snprintf(script, sizeof(script), "%s", line + 1);
            script_run(&plan, script);

        } else if (line[0] == '=') {
            ok(strcmp(script_trace, line + 2) == 0, "%s: %s", script, line + 2);

            if (strcmp(script_trace, line + 2) != 0) {
                printf("#   got %s\n", script_trace);
            }

        } else {
            add_text(line);
        }

    } while (fgets(line, 4096, in));

    is_int(result.warnings.nelts, n, "no other warnings");

    while (n < result.warnings.nelts) {
        printf("#   %.*s\n", (int) warning[n].len, warning[n].data);
        n++;
    }
}


/* @T and @H stand for the fields of a Task */

static void
add_text(char *line)
{
    const char  *text;

    while (*line && machine_len < MACHINE_LEN - 512) {

        if (line[0] == '@' && (line[1] == 'T' || line[1] == 'H')) {
            text = line[1] == 'T' ? FUNCTION : CALL;

            memcpy(machine + machine_len, text, strlen(text));
            machine_len += strlen(text);
            line += 2;

        } else {
            machine[machine_len++] = *line++;
        }
    }

    machine[machine_len] = '\0';
}


static ngx_int_t
compile(void)
{
    u_char     *copy;
    ngx_int_t   rc;
    ngx_str_t   text;

    /* memory of its own, so that one byte too far is seen */

    copy = malloc(machine_len ? machine_len : 1);
    memcpy(copy, machine, machine_len);

    text.data = copy;
    text.len = machine_len;

    ngx_memzero(&plan, sizeof(plan));
    ngx_http_retry_chain_retry_after_conf_init(&plan.retry_after);

    rc = ngx_http_retry_chain_machine_compile(tap_pool(), &text, &options,
                                              &plan, &result);
    free(copy);

    return rc;
}


static void
load(const char *name)
{
    FILE  *in;

    in = fopen(name, "r");
    machine_len = 0;

    if (ok(in != NULL, "%s", name)) {
        machine_len = fread(machine, 1, MACHINE_LEN - 1, in);
        fclose(in);
    }

    machine[machine_len] = '\0';
}


static void
is_error(const char *expected, const char *name)
{
    is_int(compile(), NGX_DECLINED, "%s", name);
    is_str(&result.error, expected, "its error");
    ok(plan.steps == NULL && plan.states == NULL && plan.attempts == 0,
       "the plan is as it was");
}


/* the machine of the article, byte for byte */

static void
test_seed(void)
{
    ngx_str_t   *warning;
    ngx_uint_t   i;

    static const char  *names[] = { "apiProxy1", "apiProxy2", "apiProxy3" };
    static const char  *states[] = {
        "Proxy 1", "Choice", "Success - 1", "Wait", "Proxy 2", "Choice (1)",
        "Success -2", "Proxy 3", "Choice (2)", "Success - 3", "Failure"
    };
    static char  scripts[][64] = {
        "200", "429 200", "429 429 200", "429 429 503", "404 500 200",
        "e e e e e e 200", "t 429 i 200", "429 e 429 429"
    };
    static const char  *traces[] = {
        "apiProxy1 -> success",
        "apiProxy1 +5000 apiProxy2 -> success",
        "apiProxy1 +5000 apiProxy2 apiProxy3 -> success",
        "apiProxy1 +5000 apiProxy2 apiProxy3 -> exhausted",
        "apiProxy1 +5000 apiProxy2 apiProxy3 -> success",
        "apiProxy1 ~2000 apiProxy1 ~4000 apiProxy1 ~8000 apiProxy1 "
            "~16000 apiProxy1 +5000 apiProxy2 ~2000 apiProxy2 -> success",
        "apiProxy1 ~2000 apiProxy1 +5000 apiProxy2 ~2000 apiProxy2 -> success",
        "apiProxy1 +5000 apiProxy2 ~2000 apiProxy2 apiProxy3 -> exhausted"
    };

    load(SEED);
    is_int(compile(), NGX_OK, "the seed's machine");

    is_int(plan.nsteps, 3, "three steps");
    is_int(plan.nstates, 11, "the Passes vanish");
    is_int(plan.nrules, 3, "a rule for each step");
    is_int(plan.attempts, 21, "seven attempts for each");
    is_int(plan.timeout, DEADLINE, "the deadline of the directives");
    ok(!plan.hard, "which is the default");
    ok(!plan.body, "no body is needed");
    is_int(plan.wait, 0, "it begins at once");
    is_int(result.sleep, 383000, "it can wait for 3 times 126 s and 5 s");

    is_int(result.warnings.nelts, 1, "one warning");
    warning = result.warnings.elts;
    is_str(&warning[0], "a run could wait for 383 s in all, but ends after "
           "60000 ms at \"$\"", "it is about that");

    for (i = 0; i < plan.nsteps; i++) {
        is_str(&plan.steps[i].name, names[i], "step %u", (unsigned) i);
        is_int(plan.rules[i].attempts, 7, "6 retries");
        is_int(plan.rules[i].interval, 2000, "after 2 s");
        is_int(plan.rules[i].rate, 2000, "twice as much each time");
        is_int(plan.rules[i].outcomes, NGX_HTTP_RETRY_CHAIN_ERROR
                                       |NGX_HTTP_RETRY_CHAIN_TIMEOUT
                                       |NGX_HTTP_RETRY_CHAIN_INVALID_HEADER,
               "on every failure of the upstream");
    }

    for (i = 0; i < plan.nstates; i++) {
        is_str(&plan.states[i].name, states[i], "state %u", (unsigned) i);
    }

    for (i = 0; i < sizeof(traces) / sizeof(traces[0]); i++) {
        script_run(&plan, scripts[i]);
        ok(strcmp(script_trace, traces[i]) == 0, "%s", traces[i]);

        if (strcmp(script_trace, traces[i]) != 0) {
            printf("#   got %s\n", script_trace);
        }
    }
}


/* what a file of lines cannot hold */

static void
test_texts(void)
{
    machine_len = 0;
    machine[0] = '\0';
    is_error("invalid JSON in line 1 at \"$\"", "no text");

    strcpy(machine, " \n ");
    machine_len = 3;
    is_error("invalid JSON in line 2 at \"$\"", "blanks");

    strcpy(machine, "{\n\n\"a\" 1}");
    machine_len = strlen(machine);
    is_error("invalid JSON in line 3 at \"$\"", "the line is told");

    strcpy(machine, "{\"a\":\"\t\"}");
    machine_len = strlen(machine);
    is_error("control character in line 1 at \"$\"", "a tab in a string");

    memcpy(machine, "{\"a\":\0}", 7);
    machine_len = 7;
    is_error("zero byte at \"$\"", "a zero");

    strcpy(machine, "{\"a\":\"\xff\"}");
    machine_len = strlen(machine);
    is_error("invalid UTF-8 at \"$\"", "bytes that are no text");

    strcpy(machine, "{\"a\":\"\xc3\"}");
    machine_len = strlen(machine);
    is_error("invalid UTF-8 at \"$\"", "a character that is cut");

    strcpy(machine, "{\"a\":\"\\\\u0000\"}");
    machine_len = strlen(machine);
    is_error("unknown field at \"$.a\"", "an escaped backslash is no zero");
}


static void
test_limits(void)
{
    u_char      *p;
    ngx_int_t    rc;
    ngx_str_t    text, *warning;
    ngx_uint_t   i, n;

    static ngx_uint_t   counts[] = { 16, 17 };

    /* so many Tasks in a row */

    for (i = 0; i < 2; i++) {

        machine_len = sprintf(machine, "{\"StartAt\":\"T0\",\"States\":{");

        for (n = 0; n < counts[i]; n++) {
            machine_len += sprintf(machine + machine_len,
                                   "\"T%u\":{" FUNCTION ",\"Next\":\"T%u\"},",
                                   (unsigned) n, (unsigned) n + 1);
        }

        machine_len += sprintf(machine + machine_len,
                               "\"T%u\":{\"Type\":\"Succeed\"}}}",
                               (unsigned) n);

        if (i == 0) {
            is_int(compile(), NGX_OK, "16 Tasks");
            is_int(plan.attempts, 16, "are 16 attempts");

        } else {
            is_error("17 Tasks, at most 16 are allowed at \"$.States\"",
                     "17 Tasks");
        }
    }

    /* Passes, up to the limit and beyond */

    for (i = 0; i < 2; i++) {

        machine_len = sprintf(machine, "{\"StartAt\":\"0\",\"States\":{\"0\":{"
                              FUNCTION ",\"Next\":\"1\"}");

        for (n = 1; n < 499 + i; n++) {
            machine_len += sprintf(machine + machine_len,
                                   ",\"%u\":{\"Type\":\"Pass\",\"Next\":"
                                   "\"%u\"}", (unsigned) n, (unsigned) n + 1);
        }

        machine_len += sprintf(machine + machine_len,
                               ",\"%u\":{\"Type\":\"Succeed\"}}}",
                               (unsigned) n);

        if (i == 0) {
            is_int(compile(), NGX_OK, "500 states");
            is_int(plan.nstates, 2, "of which two are left");

        } else {
            is_error("501 states, at most 500 are allowed at \"$.States\"",
                     "501 states");
        }
    }

    machine_len = sprintf(machine, "{");

    for (n = 0; n < 513; n++) {
        machine_len += sprintf(machine + machine_len, "%s\"%u\":1",
                               n ? "," : "", (unsigned) n);
    }

    machine_len += sprintf(machine + machine_len, "}");
    is_error("more than 512 fields at \"$\"", "513 fields");

    /* the size */

    for (i = 0; i < 2; i++) {
        text.len = NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE + i;
        p = malloc(text.len);
        memset(p, ' ', text.len);
        memcpy(p, "[]", 2);
        text.data = p;

        rc = ngx_http_retry_chain_machine_compile(tap_pool(), &text, &options,
                                                  &plan, &result);
        is_int(rc, NGX_DECLINED, "%u bytes", (unsigned) text.len);
        is_str(&result.error, i ? "262145 bytes, at most 262144 are allowed "
                                  "at \"$\""
                                : "must be an object at \"$\"", "its error");
        free(p);
    }

    /* data that doubles with each Pass */

    machine_len = sprintf(machine, "{\"StartAt\":\"0\",\"States\":{\"0\":{"
                          FUNCTION ",\"Next\":\"1\"}");

    for (n = 1; n < 400; n++) {
        machine_len += sprintf(machine + machine_len,
                               ",\"%u\":{\"Type\":\"Pass\",\"Parameters\":"
                               "{\"a.$\":\"$\",\"b.$\":\"$\"},\"Next\":"
                               "\"%u\"}", (unsigned) n, (unsigned) n + 1);
    }

    machine_len += sprintf(machine + machine_len,
                           ",\"%u\":{" FUNCTION ",\"ResultPath\":\"$.x\","
                           "\"End\":true}}}", (unsigned) n);

    is_error("the data is too complex at \"$\"", "data without end");

    /* so many warnings and not more */

    machine_len = sprintf(machine, "{\"StartAt\":\"A\",\"States\":{\"A\":{"
                          FUNCTION ",\"End\":true,\"Retry\":[{"
                          "\"ErrorEquals\":[\"x\"");

    for (n = 1; n < 1000; n++) {
        machine_len += sprintf(machine + machine_len, ",\"x\"");
    }

    machine_len += sprintf(machine + machine_len, "]}]}}}");

    is_int(compile(), NGX_OK, "1000 warnings");
    is_int(result.warnings.nelts, 51, "50 are told");

    warning = result.warnings.elts;
    is_str(&warning[50], "950 more warnings at \"$\"", "and their number");
}
