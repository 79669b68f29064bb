
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Compiles a state machine in the Amazon States Language into a plan.
 *
 * A Task is a step.  Its upstream is the function that it invokes: the name of
 * FunctionName, or of Resource if that is a function.  http:invoke goes to the
 * connection of ConnectionArn, or without one to the host of ApiEndpoint.  The
 * request is always the client's own: what Parameters or Arguments say of it
 * has no effect.
 *
 * To a function, each reply of the vendor is a result with statusCode, headers
 * and body, whatever its status.  For http:invoke a status of 400 or more is an
 * error.  Errors have these names:
 *
 *     States.ALL                             every error
 *     States.TaskFailed                      every error but a timeout
 *     States.Timeout                         timeout
 *
 *     Lambda.SdkClientException              connection failed, timeout
 *     Lambda.TooManyRequestsException        connection failed, which includes
 *                                            that there is no live server
 *     Lambda.ClientExecutionTimeoutException timeout
 *     Lambda.Unknown                         timeout, invalid reply
 *     Lambda.ServiceException                invalid reply
 *     Lambda.AWSLambdaException              invalid reply
 *
 *     States.Http.Socket                     connection failed, timeout,
 *                                            invalid reply
 *     States.Http.StatusCode.NNN             a reply with this status
 *
 * Those of Lambda are errors of functions, those of Http of http:invoke.  No
 * other name ever matches.
 *
 * A condition may ask for the status, a header, the JSON of the body or what is
 * in it, or the Error and Cause that a Catch has caught; where these lie is
 * followed through InputPath, ResultSelector, ResultPath, OutputPath, Pass, and
 * in JSONata through Output if that has plain paths.  All other data is refused
 * when a condition asks for it, and the answer is the reply itself, not what a
 * machine would make of it.
 *
 * A failure of the upstream that is not caught goes on to Next, like a reply
 * with status 502, or 504 after a timeout, and without a body.  A reply that is
 * an error and is not caught is the end.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_MACHINE_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_MACHINE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_plan.h"


#define NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE  (256 * 1024)


typedef struct {
    ngx_str_t                           file;      /* where it is configured */
    ngx_uint_t                          line;

    ngx_msec_t                          deadline;  /* 0: none */
    ngx_uint_t                          fail_status;

    unsigned                            hard:1;    /* deadline is configured */
} ngx_http_retry_chain_machine_options_t;


/* messages are of the form: reason at "path" */

typedef struct {
    ngx_str_t                           error;
    ngx_array_t                         warnings;  /* of ngx_str_t */
    ngx_msec_t                          sleep;     /* the longest possible */
} ngx_http_retry_chain_machine_result_t;


/*
 * Sets the steps, rules and states of the plan, its attempts, and its timeout:
 * the deadline of the options, or TimeoutSeconds of the machine, or the shorter
 * one if both are configured.  NGX_DECLINED, with the error and the plan as it
 * was, if the text cannot be run.
 */
ngx_int_t ngx_http_retry_chain_machine_compile(ngx_pool_t *pool,
    ngx_str_t *text, ngx_http_retry_chain_machine_options_t *options,
    ngx_http_retry_chain_plan_t *plan,
    ngx_http_retry_chain_machine_result_t *result);


#endif /* _NGX_HTTP_RETRY_CHAIN_MACHINE_H_INCLUDED_ */
