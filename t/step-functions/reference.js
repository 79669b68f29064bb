'use strict';

// Runs state machines with aws-local-stepfunctions: one JSON object in a line
// of standard input, { machine, script }, one in a line of standard output,
// { calls, waits, least, error, cause }.  "least" are the waits if jitter makes
// them as short as it can, "waits" if as long.
//
// A script has a list of outcomes for each function, of which the last one goes
// on for ever: an object for a reply, or "refused", "garbage", "silent".
//
// Nobody waits: the clock is moved to the next timer as soon as nothing else is
// to be done.  So the waits are those that the implementation asks for, in
// milliseconds.


const Module = require('node:module');

// nothing here calls AWS

const load = Module._load;

Module._load = function (name, ...rest)
{
    return name.startsWith('@aws-sdk/') ? {} : load.call(this, name, ...rest);
};

// which older releases of node do not have

Promise.withResolvers ??= function ()
{
    const made = {};

    made.promise = new Promise((resolve, reject) => {
        made.resolve = resolve;
        made.reject = reject;
    });

    return made;
};

const { StateMachine } = require('aws-local-stepfunctions');


// ---- the clock --------------------------------------------------------------

const idle = () => new Promise(resolve => setImmediate(resolve));

const timers = new Map();
let now = 0;
let serial = 0;

globalThis.setTimeout = (handler, delay) => {
    timers.set(++serial, { handler, at: now + delay });
    return serial;
};

globalThis.clearTimeout = id => timers.delete(id);

// what jitter asks for

let random = 0;

Math.random = () => random;


function tick()
{
    let first;

    for (const [id, timer] of timers) {
        if (first === undefined || timer.at < timers.get(first).at) {
            first = id;
        }
    }

    if (first === undefined) {
        throw new Error('nothing would ever happen');
    }

    const { handler, at } = timers.get(first);

    timers.delete(first);
    now = at;
    handler();
}


// ---- what README says of the differences ------------------------------------

// Here one failure of an upstream may have several names, there an error has
// one.  So a name stands for the errors that are thrown below and that README
// lists for it.

const names = {
    lambda: {
        'Lambda.SdkClientException':
            ['Lambda.SdkClientException', 'States.Timeout'],
        'Lambda.TooManyRequestsException': ['Lambda.SdkClientException'],
        'Lambda.AWSLambdaException': ['Lambda.ServiceException'],
        'Lambda.Unknown': ['States.Timeout', 'Lambda.ServiceException'],
        'Lambda.ClientExecutionTimeoutException': ['States.Timeout'],
    },

    http: {
        'States.Http.Socket': ['States.Http.Socket', 'States.Timeout'],
    },
};

const errors = (list, kind) => (list ?? []).map(item => ({
    ...item,
    ErrorEquals: item.ErrorEquals.flatMap(name => names[kind][name] ?? name)
}));


// A comparison with what is not there, or is of another type, is false, where
// the execution would end, or a string be taken for a number.  And that
// implementation knows tests for true only.

function rule(it)
{
    const { Next, ...test } = it;
    const next = Next === undefined ? {} : { Next };

    if (it.And || it.Or) {
        const op = it.And ? 'And' : 'Or';
        return { [op]: it[op].map(rule), ...next };
    }

    if (it.Not) {
        return { Not: rule(it.Not), ...next };
    }

    const [name] = Object.keys(it).filter(key => key !== 'Variable'
                                                 && key !== 'Next');
    const present = { Variable: it.Variable, IsPresent: true };

    if (name === 'IsPresent') {
        return it[name] ? { ...present, ...next }
                        : { Not: present, ...next };
    }

    if (name.startsWith('Is')) {
        const is = { Variable: it.Variable, [name]: true };
        return { And: [present, it[name] ? is : { Not: is }], ...next };
    }

    const kind = 'Is' + name.match(/^(String|Numeric|Boolean|Timestamp)/)[0];
    const paths = name.endsWith('Path') ? [it.Variable, it[name]]
                                        : [it.Variable];
    const guards = paths.flatMap(path => [
        { Variable: path, IsPresent: true }, { Variable: path, [kind]: true }
    ]);

    return { And: [...guards, test], ...next };
}


// A failure that nothing catches goes on to Next, like a reply with status 502
// or 504.  A reply that is an error is the answer then, and so is any reply for
// which no rule of a Choice holds.  A Fail without Error and Cause has empty
// ones.

const broken = name => `${name} is broken`;
const answer = 'the reply at hand';

const statusError = status => `States.Http.StatusCode.${status}`;
const statuses = Array.from({ length: 200 }, (_, i) => statusError(400 + i));


function translate(machine)
{
    const states = { [answer]: { Type: 'Succeed' } };

    for (const [name, state] of Object.entries(machine.States)) {

        const mine = states[name] = { ...state };

        switch (state.Type) {

        case 'Task': {
            const { Retry, Catch, TimeoutSeconds, ...rest } = state;
            const { kind } = target(state);

            mine.Retry = errors(Retry, kind);
            mine.Catch = [...errors(Catch, kind),
                          { ErrorEquals: statuses, Next: answer },
                          { ErrorEquals: ['States.ALL'], ResultPath: null,
                            Next: broken(name) }];

            states[broken(name)] = rest;
            break;
        }

        case 'Choice':
            mine.Choices = state.Choices.map(rule);
            mine.Default ??= answer;
            break;

        case 'Fail':
            mine.Error ??= '';
            mine.Cause ??= '';
            break;
        }
    }

    return { ...machine, States: states };
}


// ---- one execution ----------------------------------------------------------

const failures = {
    lambda: {
        refused: 'Lambda.SdkClientException',
        garbage: 'Lambda.ServiceException',
    },

    http: {
        refused: 'States.Http.Socket',
        garbage: 'States.Http.Socket',
    },
};


function failure(name)
{
    return Object.assign(new Error('a failure'), { name, planned: true });
}


// a body is known if it is JSON

function parsed(json)
{
    try {
        return JSON.parse(json);

    } catch {
        return undefined;
    }
}


// the upstream of a Task, and the result that it makes of a reply

function target({ Resource, Parameters: args })
{
    if (Resource.endsWith(':http:invoke')) {
        const arn = args.Authentication?.ConnectionArn;

        return {
            kind: 'http',
            way: arn ? arn.split('/')[1] : new URL(args.ApiEndpoint).hostname,
            result: ({ status, headers, body }) => ({
                StatusCode: status,
                Headers: Object.fromEntries(Object.entries(headers).map(
                             ([name, value]) => [name, [value]])),
                ResponseBody: body
            })
        };
    }

    const made = ({ status, headers, body }) => ({
        statusCode: status, headers: { ...headers }, body
    });

    return {
        kind: 'lambda',
        way: (args?.FunctionName ?? Resource).replace(/^.*:function:/, '')
                                             .replace(/:.*/, ''),
        result: args ? reply => ({ StatusCode: 200, Payload: made(reply) })
                     : made
    };
}


async function run({ machine, script })
{
    const calls = [];
    const waits = [];
    const turns = {};
    const handlers = {};
    let left = now;
    let last, fault;

    const add = (name, handler) => {
        handlers[name] = async () => {
            try {
                return await handler();

            } catch (error) {
                fault ??= error.planned ? undefined : error;
                throw error;
            }
        };
    };

    for (const [name, state] of Object.entries(machine.States)) {

        if (state.Type !== 'Task') {
            continue;
        }

        const { kind, way, result } = target(state);

        add(name, async () => {
            const list = script[way];
            const turn = turns[way] = (turns[way] ?? 0) + 1;

            last = list[Math.min(turn, list.length) - 1];
            calls.push(way);
            waits.push(now - left);
            left = now;

            if (last === 'silent') {
                left += state.TimeoutSeconds * 1000;
                return new Promise(() => {});
            }

            if (typeof last === 'string') {
                throw failure(failures[kind][last]);
            }

            if (kind === 'http' && last.status >= 400) {
                throw failure(statusError(last.status));
            }

            return result({ ...last,
                            body: parsed(last.json) });
        });

        add(broken(name), async () => result({
            status: last === 'silent' ? 504 : 502, headers: {}
        }));
    }

    const execution = new StateMachine(translate(machine),
                                       { validationOptions:
                                             { noValidate: true } })
                      .run({}, { overrides:
                                     { taskResourceLocalHandlers: handlers } });
    let ended = false;
    let failed;

    execution.result.catch(error => { failed = error.cause ?? error; })
                    .finally(() => { ended = true; });

    for ( ;; ) {
        await idle();

        if (ended) {
            break;
        }

        tick();
    }

    timers.clear();

    if (fault) {
        throw fault;
    }

    return { calls, waits,
             ...failed ? { error: failed.name, cause: failed.message } : {} };
}


async function main()
{
    const chunks = [];

    for await (const chunk of process.stdin) {
        chunks.push(chunk);
    }

    // to check all of them would take longer than the rest

    let unchecked = 8;

    for (const line of Buffer.concat(chunks).toString().split('\n')) {

        if (line === '') {
            continue;
        }

        let result;

        try {
            const given = JSON.parse(line);

            if (unchecked && unchecked--) {
                new StateMachine(given.machine);
            }

            random = 0;
            const { waits: least } = await run(given);

            random = 1 - Number.EPSILON;
            result = { ...await run(given), least };

        } catch (error) {
            result = { invalid: error.message };
        }

        process.stdout.write(JSON.stringify(result) + '\n');
    }
}


main();
