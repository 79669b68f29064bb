
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Says in words what a state machine is compiled into, or draws it:
 *
 *     explain [-d | -r "REPLIES"] machine.json
 *
 * -d: a graph for Graphviz; -r: what a run does that gets these replies, as in
 * t/unit/script.h, without a deadline of the directives.
 */


#include "tap.h"
#include "script.h"
#include "ngx_http_retry_chain_condition.h"
#include "ngx_http_retry_chain_machine.h"
#include "ngx_http_retry_chain_policy.h"


#define DEADLINE  60000

/* delays that are told one by one */

#define DELAYS    8


static int read_file(const char *name, ngx_str_t *text);
static void say_messages(const char *name,
    ngx_http_retry_chain_machine_result_t *result, ngx_int_t rc);

static void say_plan(ngx_msec_t sleep);
static void say_task(ngx_http_retry_chain_state_t *state);
static void say_rule(ngx_http_retry_chain_rule_t *rule);
static void say_next(ngx_uint_t next);

static void draw_plan(void);
static void draw_edge(ngx_uint_t from, ngx_uint_t to, const char *rest);
static void draw_text(const char *text, size_t len);

static void say_errors(FILE *out, ngx_uint_t outcomes, ngx_uint_t any,
    ngx_http_retry_chain_codes_t *codes);
static void say_condition(FILE *out, ngx_http_retry_chain_condition_t *cond,
    int inner);
static void say_operand(FILE *out, ngx_http_retry_chain_operand_t *operand);
static void say_path(FILE *out, ngx_http_retry_chain_json_path_t *path);
static void say_msec(FILE *out, ngx_msec_t msec);


static ngx_http_retry_chain_plan_t  plan;


int
main(int argc, char **argv)
{
    int                                      option;
    ngx_int_t                                rc;
    ngx_str_t                                text;
    const char                              *name;
    ngx_http_retry_chain_machine_result_t    result;
    ngx_http_retry_chain_machine_options_t   options;

    option = '\0';

    if (argc == 3 && strcmp(argv[1], "-d") == 0) {
        option = 'd';

    } else if (argc == 4 && strcmp(argv[1], "-r") == 0) {
        option = 'r';

    } else if (argc != 2) {
        fprintf(stderr, "usage: explain [-d | -r \"REPLIES\"] "
                        "machine.json\n");
        return 2;
    }

    name = argv[argc - 1];

    if (!read_file(name, &text)) {
        return 2;
    }

    ngx_memzero(&options, sizeof(options));
    ngx_memzero(&plan, sizeof(plan));

    options.deadline = option == 'r' ? 0 : DEADLINE;

    ngx_http_retry_chain_retry_after_conf_init(&plan.retry_after);

    rc = ngx_http_retry_chain_machine_compile(tap_pool(), &text, &options,
                                              &plan, &result);

    say_messages(name, &result, rc);

    if (rc == NGX_OK) {

        if (option == 'd') {
            draw_plan();

        } else if (option == 'r') {
            script_run(&plan, argv[2]);
            printf("%s\n", script_trace);

        } else {
            say_plan(result.sleep);
        }
    }

    free(text.data);
    tap_free_pool();

    return rc == NGX_OK ? 0 : 1;
}


/* one byte more than what is too large */

static int
read_file(const char *name, ngx_str_t *text)
{
    FILE  *in;

    in = fopen(name, "r");

    if (in == NULL) {
        perror(name);
        return 0;
    }

    text->data = malloc(NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE + 1);

    if (text->data == NULL) {
        perror("malloc");
        fclose(in);
        return 0;
    }

    text->len = fread(text->data, 1, NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE + 1,
                      in);
    fclose(in);

    return 1;
}


static void
say_messages(const char *name, ngx_http_retry_chain_machine_result_t *result,
    ngx_int_t rc)
{
    ngx_str_t   *warning;
    ngx_uint_t   i;

    warning = result->warnings.elts;

    for (i = 0; i < result->warnings.nelts; i++) {
        fprintf(stderr, "[warn] %s: %.*s\n", name, (int) warning[i].len,
                warning[i].data);
    }

    if (rc != NGX_OK) {
        fprintf(stderr, "[emerg] %s: %.*s\n", name, (int) result->error.len,
                result->error.data);
    }
}


static void
say_plan(ngx_msec_t sleep)
{
    ngx_uint_t                      i, k;
    ngx_http_retry_chain_state_t   *state;
    ngx_http_retry_chain_branch_t  *branch;

    printf("at most %u attempts and ", (unsigned) plan.attempts);
    say_msec(stdout, sleep);
    printf(" of waits, %s ", plan.hard ? "ends after" : "default deadline");
    say_msec(stdout, plan.timeout);
    printf("\n");

    if (plan.body) {
        printf("needs bodies of replies\n");
    }

    if (plan.wait) {
        printf("first waits ");
        say_msec(stdout, plan.wait);
        printf("\n");
    }

    for (i = 0; i < plan.nstates; i++) {
        state = &plan.states[i];

        printf("\n%s\n", (char *) state->name.data);

        switch (state->type) {

        case NGX_HTTP_RETRY_CHAIN_STATE_TASK:
            say_task(state);
            break;

        case NGX_HTTP_RETRY_CHAIN_STATE_CHOICE:

            for (k = 0; k < state->nbranches; k++) {
                branch = &state->branches[k];

                printf("    if ");
                say_condition(stdout, branch->condition, 0);
                say_next(branch->next);
            }

            printf("    else");
            say_next(state->next);
            break;

        case NGX_HTTP_RETRY_CHAIN_STATE_WAIT:
            printf("    waits ");
            say_msec(stdout, state->wait);
            say_next(state->next);
            break;

        case NGX_HTTP_RETRY_CHAIN_STATE_SUCCEED:
            printf("    the end, the answer is the last reply\n");
            break;

        default: /* NGX_HTTP_RETRY_CHAIN_STATE_FAIL */
            printf("    the end, the answer is status %u",
                   (unsigned) plan.fail_status);
            printf(", error \"%s\", cause \"%s\"\n",
                   (char *) state->error.data, (char *) state->cause.data);
            break;
        }
    }
}


static void
say_task(ngx_http_retry_chain_state_t *state)
{
    ngx_uint_t                     i;
    ngx_http_retry_chain_step_t   *step;
    ngx_http_retry_chain_catch_t  *catch;

    step = &plan.steps[state->step];

    printf("    step %u, upstream \"%s\"", (unsigned) state->step + 1,
           (char *) step->name.data);

    if (step->timeout) {
        printf(", timeout ");
        say_msec(stdout, step->timeout);
    }

    printf("\n");

    for (i = 0; i < state->nrules; i++) {
        say_rule(&plan.rules[state->rule + i]);
    }

    for (i = 0; i < state->ncatches; i++) {
        catch = &state->catches[i];

        if (catch->outcomes) {
            printf("    catch ");
            say_errors(stdout, catch->outcomes, catch->any, &catch->codes);
            say_next(catch->next);
        }
    }

    printf("    then");
    say_next(state->next);
}


static void
say_rule(ngx_http_retry_chain_rule_t *rule)
{
    ngx_uint_t                   k, n;
    ngx_http_retry_chain_rule_t  plain;

    n = rule->attempts - 1;
    plain = *rule;
    plain.jitter = NGX_HTTP_RETRY_CHAIN_JITTER_NONE;

    printf("    ");

    if (n == 0) {
        printf("no retry on ");
        say_errors(stdout, rule->outcomes, rule->any, &rule->codes);
        printf("\n");
        return;
    }

    printf("retry on ");
    say_errors(stdout, rule->outcomes, rule->any, &rule->codes);
    printf(": %u times, after%s ", (unsigned) n,
           rule->jitter == NGX_HTTP_RETRY_CHAIN_JITTER_FULL ? " up to" : "");

    for (k = 1; k <= n; k++) {

        if (k > 1) {
            printf(", ");
        }

        if (k > DELAYS) {
            printf("...");
            break;
        }

        say_msec(stdout, ngx_http_retry_chain_backoff(&plain, k, 0));
    }

    printf("\n");
}


static void
say_next(ngx_uint_t next)
{
    if (next == NGX_HTTP_RETRY_CHAIN_END) {
        printf(" -> the end\n");
        return;
    }

    printf(" -> %s\n", (char *) plan.states[next].name.data);
}


static void
draw_plan(void)
{
    char                           *label;
    FILE                           *out;
    size_t                          size;
    ngx_uint_t                      i, k;
    ngx_http_retry_chain_state_t   *state;

    static const char  *shapes[] = { "box", "diamond", "ellipse",
                                     "doublecircle", "octagon" };

    printf("digraph machine {\n    start [shape=point];\n"
           "    end [shape=doublecircle, label=\"\"];\n");

    for (i = 0; i < plan.nstates; i++) {
        state = &plan.states[i];

        out = open_memstream(&label, &size);

        fprintf(out, "%s", (char *) state->name.data);

        if (state->type == NGX_HTTP_RETRY_CHAIN_STATE_TASK) {
            fprintf(out, "\n%s",
                    (char *) plan.steps[state->step].name.data);

        } else if (state->type == NGX_HTTP_RETRY_CHAIN_STATE_WAIT) {
            fprintf(out, "\n");
            say_msec(out, state->wait);
        }

        fclose(out);

        printf("    s%u [shape=%s, label=\"", (unsigned) i,
               shapes[state->type]);
        draw_text(label, size);
        printf("\"];\n");
        free(label);
    }

    printf("    start -> s0");

    if (plan.wait) {
        printf(" [label=\"");
        say_msec(stdout, plan.wait);
        printf("\"]");
    }

    printf(";\n");

    for (i = 0; i < plan.nstates; i++) {
        state = &plan.states[i];

        for (k = 0; k < state->nbranches; k++) {
            out = open_memstream(&label, &size);
            say_condition(out, state->branches[k].condition, 0);
            fclose(out);

            draw_edge(i, state->branches[k].next, NULL);
            printf(" [label=\"");
            draw_text(label, size);
            printf("\"];\n");
            free(label);
        }

        for (k = 0; k < state->ncatches; k++) {

            if (state->catches[k].outcomes) {
                draw_edge(i, state->catches[k].next, NULL);
                printf(" [style=dashed, label=\"");
                say_errors(stdout, state->catches[k].outcomes,
                           state->catches[k].any, &state->catches[k].codes);
                printf("\"];\n");
            }
        }

        for (k = 0; k < state->nrules; k++) {
            printf("    s%u -> s%u [style=dotted, label=\"%u x ", (unsigned) i,
                   (unsigned) i,
                   (unsigned) plan.rules[state->rule + k].attempts - 1);
            say_errors(stdout, plan.rules[state->rule + k].outcomes,
                       plan.rules[state->rule + k].any,
                       &plan.rules[state->rule + k].codes);
            printf("\"];\n");
        }

        if (state->type < NGX_HTTP_RETRY_CHAIN_STATE_SUCCEED) {
            draw_edge(i, state->next,
                      state->type == NGX_HTTP_RETRY_CHAIN_STATE_CHOICE
                      ? " [label=\"else\"];\n" : ";\n");
        }
    }

    printf("}\n");
}


static void
draw_edge(ngx_uint_t from, ngx_uint_t to, const char *rest)
{
    printf("    s%u -> ", (unsigned) from);

    if (to == NGX_HTTP_RETRY_CHAIN_END) {
        printf("end");

    } else {
        printf("s%u", (unsigned) to);
    }

    if (rest) {
        printf("%s", rest);
    }
}


static void
draw_text(const char *text, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {

        if (text[i] == '\n') {
            printf("\\n");

        } else {
            printf("%s%c", text[i] == '"' || text[i] == '\\' ? "\\" : "",
                   text[i]);
        }
    }
}


static void
say_errors(FILE *out, ngx_uint_t outcomes, ngx_uint_t any,
    ngx_http_retry_chain_codes_t *codes)
{
    ngx_uint_t   i;
    const char  *comma;

    static const char  *names[] = { "connection failed", "timeout",
                                    "invalid reply" };

    comma = "";

    for (i = 0; i < 3; i++) {
        if (outcomes & (NGX_HTTP_RETRY_CHAIN_ERROR << i)) {
            fprintf(out, "%s%s", comma, names[i]);
            comma = ", ";
        }
    }

    if (!(outcomes & NGX_HTTP_RETRY_CHAIN_REPLY)) {
        return;
    }

    if (any) {
        fprintf(out, "%sstatus of 400 or more", comma);
        return;
    }

    for (i = 400; i < 600; i++) {
        if (ngx_http_retry_chain_codes_test(codes, i)) {
            fprintf(out, "%sstatus %u", comma, (unsigned) i);
            comma = ", ";
        }
    }
}


static void
say_condition(FILE *out, ngx_http_retry_chain_condition_t *cond, int inner)
{
    ngx_uint_t  i;

    static const char  *relations[] = { "=", "<", "<=", ">", ">=" };
    static const char  *tests[] = { "present", "null", "a number", "a string",
                                    "a boolean", "a time" };

    switch (cond->type) {

    case NGX_HTTP_RETRY_CHAIN_CONDITION_NOT:
        fprintf(out, "not ");
        say_condition(out, cond->list[0], 1);
        return;

    case NGX_HTTP_RETRY_CHAIN_CONDITION_AND:
    case NGX_HTTP_RETRY_CHAIN_CONDITION_OR:

        if (cond->nlist == 0) {
            fprintf(out, "%s",
                    cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_AND
                    ? "true" : "false");
            return;
        }

        fprintf(out, "%s", inner ? "(" : "");

        for (i = 0; i < cond->nlist; i++) {

            if (i) {
                fprintf(out, "%s",
                        cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_AND
                        ? " and " : " or ");
            }

            say_condition(out, cond->list[i], 1);
        }

        fprintf(out, "%s", inner ? ")" : "");
        return;

    default:
        break;
    }

    say_operand(out, &cond->left);

    if (cond->type >= NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT) {
        fprintf(out, " is %s%s", cond->right.number != 0 ? "" : "not ",
                tests[cond->type - NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT]);
        return;
    }

    fprintf(out, " %s ", cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES
                         ? "matches" : relations[cond->relation]);

    say_operand(out, &cond->right);
}


static void
say_operand(FILE *out, ngx_http_retry_chain_operand_t *operand)
{
    switch (operand->type) {

    case NGX_HTTP_RETRY_CHAIN_OPERAND_ABSENT:
        fprintf(out, "what is missing");
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT:
        fprintf(out, "the reply");
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_STATUS:
        fprintf(out, "status");
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_HEADER:
        fprintf(out, "header %s", (char *) operand->text.data);
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_BODY:
        fprintf(out, "body");
        say_path(out, &operand->path);
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_ERROR:
        fprintf(out, "error");
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_CAUSE:
        fprintf(out, "cause");
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_NUMBER:
        fprintf(out, "%.17g", operand->number);
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_STRING:
        fprintf(out, "\"%.*s\"", (int) operand->text.len, operand->text.data);
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN:
        fprintf(out, "%s", operand->number != 0 ? "true" : "false");
        break;

    default: /* NGX_HTTP_RETRY_CHAIN_OPERAND_NULL */
        fprintf(out, "null");
        break;
    }
}


static void
say_path(FILE *out, ngx_http_retry_chain_json_path_t *path)
{
    ngx_uint_t  i;

    for (i = 0; i < path->nkeys; i++) {

        if (path->keys[i].indexed) {
            fprintf(out, "[%u]", (unsigned) path->keys[i].index);

        } else {
            fprintf(out, ".%s", (char *) path->keys[i].name.data);
        }
    }
}


static void
say_msec(FILE *out, ngx_msec_t msec)
{
    if (msec % 1000) {
        fprintf(out, "%lu ms", (unsigned long) msec);

    } else {
        fprintf(out, "%lu s", (unsigned long) msec / 1000);
    }
}
