// The status page as a person sees it.
//
//   node status.mjs http://CHAINS http://NOTHING
//
// The first address is an nginx with chains, whose upstreams answer what a
// request says; the second one is without any.  Says TAP.

import http from 'node:http';
import { mkdirSync } from 'node:fs';
import { chromium } from 'playwright-core';

const [site, nothing] = process.argv.slice(2);
const slow = Number(process.env.SLOW || 1);
const shots = process.env.SHOTS;

let tests = 0, failed = 0;

function ok(pass, name, more) {
    tests++;
    failed += pass ? 0 : 1;
    console.log((pass ? 'ok ' : 'not ok ') + tests + ' - ' + name);

    if (!pass && more !== undefined) {
        console.log('# ' + String(more).replace(/\n/g, '\n# '));
    }
}

function is(got, expected, name) {
    const pass = JSON.stringify(got) === JSON.stringify(expected);

    ok(pass, name, 'got      ' + JSON.stringify(got)
                   + '\nexpected ' + JSON.stringify(expected));
}

// true as soon as a condition holds

async function until(condition, seconds = 10) {
    const stop = Date.now() + 1000 * seconds * slow;

    for ( ;; ) {
        if (await condition()) {
            return true;
        }

        if (Date.now() > stop) {
            return false;
        }

        await new Promise(done => setTimeout(done, 50));
    }
}

// a request; the upstreams are told what to answer

function ask(path, say = {}, more = {}) {
    const headers = { ...more.headers };

    for (const [way, what] of Object.entries(say)) {
        headers['say-' + way] = what;
    }

    return new Promise((done, fail) => {
        const request = http.request(site, {
            path, headers, method: more.method || 'GET', agent: false,
            setHost: !headers.Host
        }, reply => {
            let body = '';

            reply.setEncoding('utf8');
            reply.on('data', part => body += part);
            reply.on('end', () => done({ status: reply.statusCode, body }));
            reply.on('error', fail);
        });

        request.on('error', fail);
        request.end(more.body);

        if (more.leave) {
            more.leave.then(() => request.destroy());
        }
    });
}

async function json() {
    return JSON.parse((await ask('/status?format=json')).body);
}

const find = (list, name) => list.find(x => x.name === name);
const number = text => Number(text.replace(/[^\d.]/g, ''));


// ---- a browser that reports all that it should not have to -----------------

const browser = await chromium.launch({
    executablePath: process.env.BROWSER, args: ['--no-sandbox',
                                                '--disable-dev-shm-usage']
});

const trouble = [];
let expected = false;

async function open(address, options = {}) {
    const context = await browser.newContext({
        viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce',
        colorScheme: 'light', ...options
    });

    await context.addInitScript(() => {
        window.hit = 0;
        window.violations = [];
        document.addEventListener('securitypolicyviolation', e =>
            window.violations.push(e.violatedDirective));
    });

    const page = await context.newPage();

    page.on('console', m => {
        if (!expected && ['error', 'warning'].includes(m.type())) {
            trouble.push(m.text());
        }
    });
    page.on('pageerror', e => trouble.push(String(e)));
    page.on('dialog', d => {
        trouble.push('dialog');
        d.dismiss();
    });
    page.on('request', r => {
        if (!r.url().startsWith(new URL(address).origin + '/')
            && !r.url().startsWith('data:'))
        {
            trouble.push('request to ' + r.url());
        }
    });

    await page.goto(address);
    return page;
}

const chain = (page, name) =>
    page.locator(`details[data-chain="server ${name}"]`);

async function shot(page, name) {
    if (shots) {
        mkdirSync(shots, { recursive: true });
        await page.screenshot({ path: `${shots}/${name}.png` });
    }
}

// wider than the window: nothing may be

const overflow = page => page.evaluate(() => {
    const width = document.documentElement.clientWidth;

    return [document.documentElement.scrollWidth > width ? 'page' : '',
            ...[...document.querySelectorAll('body *')].filter(e => {
                const r = e.getBoundingClientRect();
                return r.width && r.right > width + 1
                       && !e.closest('.seen');
            }).map(e => e.tagName + '.' + e.getAttribute('class'))]
           .filter(x => x);
});


// ---- no chain ---------------------------------------------------------------

{
    const page = await open(nothing + '/');

    ok(await until(() => page.getByText('There is no chain and no zone')
                             .isVisible()), 'no chain: the page says so');
    is(await page.locator('details').count(), 0, 'and shows none');

    const reply = await page.request.get(nothing + '/', {
        headers: { accept: 'text/html' } });
    const policy = reply.headers()['content-security-policy'];

    ok(/default-src 'none'/.test(policy) && !/unsafe/.test(policy),
       'a strict policy', policy);
    is(reply.headers()['content-type'], 'text/html; charset=utf-8', 'its type');
    await page.context().close();
}


// ---- no traffic -------------------------------------------------------------

const page = await open(site + '/status');

ok(await until(async () => await page.locator('details').count() >= 8),
   'every chain is there');

{
    const all = await json();

    is(await page.locator('section[data-zone]').evaluateAll(list =>
           list.map(s => s.dataset.zone)),
       [...all.zones.map(z => z.name), ''], 'every zone is');
    is((await page.locator('details').evaluateAll(list =>
           list.map(s => s.dataset.chain))).sort(),
       all.chains.map(c => c.name).sort(), 'chains by their names');
    ok(await chain(page, '/v/').getByText('No run yet.').first().isVisible(),
       'a chain without traffic says so');
    ok(await page.getByText('Chains without a zone').isVisible(),
       'chains without a zone stand apart');

    const alone = chain(page, '/alone/');

    if (!await alone.getAttribute('open')) {
        await alone.locator('summary').click();
    }

    ok(await until(() => alone.getByText('This chain has no zone')
                              .isVisible()), 'and say what they lack');
    is(await alone.locator('[data-node]').count(), 2, 'their graph is drawn');
    await shot(page, 'no-traffic-1280-light');
}


// ---- traffic ----------------------------------------------------------------

const v = chain(page, '/v/');

await page.evaluate(() => document.querySelectorAll('details').forEach(d =>
    d.open = true));

for (let i = 0; i < 20; i++) {
    await ask('/v/ok/' + i);
}

await ask('/v/lost?secret=1', { a: '500', b: '500', c: '502' });
await ask('/v/saved', { a: '500', b: '429 / Retry-After: 1', c: '200' });
await ask('/v/again', { a: '503 | 200' });
await ask('/v/other/1', { b: '404' });
await ask('/v/post', { a: '500' }, { method: 'POST', body: 'x' });
await ask('/none/1');
await ask('/dry/1');
await ask('/dry/2', { a: '500' });

async function counts() {
    const all = await json();
    const c = find(all.chains, 'server /v/');
    const z = find(all.zones, 'v');
    const bad = ['exhausted', 'stopped', 'unsafe', 'deadline', 'limited',
                 'budget', 'overflow'].reduce((n, x) => n + c.runs[x], 0);

    return {
        all: Object.values(c.runs).reduce((a, b) => a + b),
        success: c.runs.success, bad, attempts: c.attempts,
        retries: c.retries, steps: ['a', 'b', 'c'].map(s =>
            find(z.steps, s).attempts)
    };
}

async function shown() {
    const text = s => v.locator(s).first().textContent();

    return {
        all: number(await text('.graph > g:nth-of-type(2) text')),
        success: number(await text('[data-end=success] .name')),
        bad: number(await text('[data-end=failure] .name')),
        attempts: number(await text('[data-fact=attempts]')),
        retries: number(await text('[data-fact=retries]')),
        steps: await v.locator('[data-node]').evaluateAll(list =>
            list.map(g => Number(g.querySelectorAll('text')[2].textContent
                                  .replace(/ attempt.*|,/g, ''))))
    };
}

ok(await until(async () => JSON.stringify(await counts())
                           === JSON.stringify(await shown())),
   'what is counted is what is shown');
is(await shown(), await counts(), 'counters');
is((await shown()).all, 24, 'all runs are there');

ok(await until(async () => await v.locator('.run').count() === 24),
   'recent runs');

{
    await v.locator('button[data-filter=failed]').click();

    const rows = await v.locator('.run .what').allTextContents();

    is(rows, ['POST /v/post', 'GET /v/lost'],
       'failed runs, without query strings');
    is(await v.locator('button[data-filter=failed]')
              .getAttribute('aria-pressed'), 'true', 'the filter says so');

    await v.locator('button[data-filter=slow]').click();
    ok(/saved|lost/.test(await v.locator('.run .what').first().textContent()),
       'slow runs, slowest first');
    await v.locator('button[data-filter=recent]').click();
}

ok(/free/.test(await v.locator('[data-node="0"] .state').textContent()),
   'a free step');

{
    const dry = chain(page, '/dry/');

    is(number(await dry.locator('[data-end=success] .name').textContent()), 1,
       'a dry run: what would have been a success');
    ok(await dry.getByText('1 unknown').isVisible(), 'and what is unknown');
    ok(await chain(page, '/none/').getByText('keeps no runs').isVisible(),
       'a zone without a history');
}

// the shape of the plots

ok(await until(async () => /M/.test(await v.locator('.plots .good').first()
                                           .getAttribute('d') || '')),
   'the plot of success');
ok(/^\d+\.\d %$/.test(await v.locator('.plots b').first().textContent()),
   'its figure');


// ---- replay -----------------------------------------------------------------

const row = (where, uri) =>
    where.locator('.run').filter({ hasText: uri }).first();

const visited = where => where.locator('[data-node].visited')
    .evaluateAll(list => list.map(g => g.dataset.node));
const walked = where => where.locator('.edge.walked')
    .evaluateAll(list => list.map(e => e.dataset.edge).sort());
const end = where => where.locator('[data-end].visited')
    .evaluateAll(list => list.map(g => g.dataset.end));

await row(v, '/v/saved').click();
is(await visited(v), ['0', '1', '2'], 'replay: the steps of a run');
is(await walked(v), ['-1 0', '0 1', '1 2', '2 good'], 'its edges');
is(await end(v), ['success'], 'its end');

{
    const items = await v.locator('.one .line li').allTextContents();

    ok(/1\. a .*500 after .* next step/.test(items[0]), 'timeline: the first',
       items[0]);
    ok(/2\. b .*429 after/.test(items[1]), 'the second', items[1]);
    ok(/3\. c .*waited 3\d\d ms \(wait of the step\).*200 after .* success/
       .test(items[2]), 'the third, and its wait', items[2]);
    ok(await v.locator('.track .wait').evaluate(e =>
           e.getBoundingClientRect().width
           > e.closest('.track').getBoundingClientRect().width / 2),
       'bars are in proportion');
}

await row(v, '/v/again').click();
is([await visited(v), await walked(v)], [['0'], ['-1 0', '0 0', '0 good']],
   'replay: the same step again');
await row(v, '/v/lost').click();
is([await visited(v), await end(v)], [['0', '1', '2'], ['failure']],
   'replay: a failed run');
is(await page.locator('#news').textContent(),
   'exhausted after 3 attempts: a 500, b 500, c 502', 'it is announced');
await v.locator('.one button', { hasText: 'Close' }).click();
is([await visited(v), await v.locator('.one').isVisible()], [[], false],
   'it can be closed');

// with motion

{
    const moving = await open(site + '/status', { reducedMotion:
                                                  'no-preference' });
    const w = chain(moving, '/v/');

    await until(async () => await w.locator('.run').count() === 24);
    await w.evaluate(e => {
        window.nodesNow = [];
        new MutationObserver(list => {
            for (const g of list.map(m => m.target)) {
                window.moved ||= g.matches('.token') && g.style.display === ''
                                 && g.getAttribute('cx') > 0;

                if (g.matches('[data-node].now')
                    && window.nodesNow.at(-1) !== g.dataset.node)
                {
                    window.nodesNow.push(g.dataset.node);
                }
            }
        }).observe(e, { attributeFilter: ['class', 'cx'], subtree: true });
    });
    await row(w, '/v/saved').click();
    await until(async () => await w.locator('.graph')
                                   .getAttribute('data-replay') === 'done', 15);

    ok(await moving.evaluate(() => window.moved), 'replay: something moves');
    is(await moving.evaluate(() => window.nodesNow), ['0', '1', '2'],
       'from step to step');
    is(await end(w), ['success'], 'to the end');
    await moving.context().close();
}


// ---- limits and waits -------------------------------------------------------

is(await chain(page, '/fixed/').locator('[data-node] .state').textContent(),
   'free, 0.5/s', 'a rate');

{
    for (let i = 0; i < 6; i++) {
        await ask('/limited/ok/' + i);
        await new Promise(done => setTimeout(done, 20));
    }

    await ask('/limited/1', { a: '429 / Retry-After: 60' });

    const l = chain(page, '/limited/');
    const state = l.locator('[data-node="0"] .state');

    ok(await until(async () => /^limited, /.test(await state.textContent())),
       'a limited step');
    is(await state.textContent().then(text => /, ([\d.]+)\/s learned$/
                                              .exec(text)?.[1]),
       String(find(find((await json()).zones, 'limited').steps, 'a').rate),
       'a learned rate');
    ok(/limited until \d\d:\d\d:\d\d$/.test(await l.locator(
           '[data-node="0"] > title').textContent()), 'the time, as a title');

    const left = async () => number(/limited, ([\d.]+) s/
                                    .exec(await state.textContent())[1]);
    const first = await left();

    ok(first > 30 && first <= 60, 'until when', first);
    ok(await until(async () => await left() < first - 1), 'it counts down');
    is(await page.locator('section[data-zone=limited] .ways li').first()
                 .locator('.limited').count(), 1, 'the zone shows it, too');

    const parked = ask('/wait/1', { a: '500' }).catch(() => null);

    let leave;
    const seen = new Promise(done => leave = done);
    const gone = ask('/wait/2', { a: '500' }, { leave: seen }).catch(() => 0);
    const w = chain(page, '/wait/');

    ok(await until(async () => await w.locator('[data-fact=waiting]')
                                     .textContent() === '2 waiting now'
                               || await w.locator('.empty').first()
                                     .isVisible() && false),
       'runs that wait');
    leave();
    await gone;
    ok(await until(async () => await w.locator('[data-fact=waiting]')
                                     .textContent() === '1 waiting now'),
       'a client has left');
    ok(await w.getByText('1 aborted').isVisible(), 'which is no failure');
    is((await parked).status, 200, 'the other one got its answer');
    ok(await until(async () => await w.locator('[data-fact=waiting]')
                                     .textContent() === '0 waiting now'),
       'nobody waits any more');
}

{
    const busy = ask('/v/busy', { a: 'hold 200' });

    ok(await until(async () => /, 1 in flight/.test(
           await v.locator('[data-node="0"]').textContent())),
       'an attempt under way');
    await ask('/alone/go', { a: 'go 200' });
    await busy;
}


// ---- nothing flickers -------------------------------------------------------

{
    await row(v, '/v/again').focus();
    await v.locator('.runs').evaluate(e => { e.scrollTop = 120; });
    await page.evaluate(() => {
        const select = getSelection();
        select.selectAllChildren(document.querySelector('h2'));
        window.before = [document.activeElement, select.toString()];
        window.changes = 0;
        new MutationObserver(list => window.changes += list.filter(m =>
            m.type === 'childList' && [...m.removedNodes].some(n =>
                n.nodeType === 1)).length)
            .observe(document.getElementById('main'),
                     { childList: true, subtree: true });
    });
    await page.mouse.move(0, 0);

    const text = await row(v, '/v/again').textContent();
    const top = await row(v, '/v/again').evaluate(e =>
        e.getBoundingClientRect().top);

    await ask('/v/new');
    await until(async () => await row(v, '/v/new').count() === 1);

    is(await page.evaluate(() => [
           document.activeElement === window.before[0],
           getSelection().toString() === window.before[1],
           window.changes]), [true, true, 0],
       'an update leaves focus, selection and elements alone');
    is(await page.evaluate(() => document.activeElement.textContent), text,
       'the focus is on the same run');
    ok(Math.abs(await row(v, '/v/again').evaluate(e =>
           e.getBoundingClientRect().top) - top) < 2,
       'at the same place');
}

// the pointer is where it is

{
    await v.locator('.run').first().hover();
    await ask('/v/held');
    ok(await until(() => v.getByText('1 more when the pointer leaves')
                          .isVisible()), 'rows stay under the pointer');
    await page.mouse.move(0, 0);
    ok(await until(async () => await row(v, '/v/held').count() === 1),
       'and move when it leaves');
}


// ---- strangers --------------------------------------------------------------

const evil = '<img/src=x/onerror=window.hit=1><script>window.hit=1</script>';

await ask('/v/' + evil + '"\'&lt;', {}, { headers: {
    Host: 'h"onmouseover=window.hit=1' } }).catch(() => 0);
await ask('/v/' + evil, {}, { method: 'PUT' });
await ask('/v/js', {}, { headers: {
    Host: 'javascript:window.hit=1', Referer: evil, 'User-Agent': evil } })
    .catch(() => 0);
await ask(encodeURI('/v/').concat(Buffer.from('\u202e\u200bgpj.exe')
                                        .toString('latin1')));
await ask('/v/\xff\xfe\xc0\x80');
await ask('/v/' + 'long'.repeat(200));

{
    ok(await until(async () => await row(v, '/v/longlong').count() === 1),
       'hostile requests are in the list');

    const texts = await v.locator('.run .what').allTextContents();

    ok(texts.some(t => t.includes(evil)), 'markup is text', texts);
    ok(texts.some(t => t.includes('\\u{202e}\\u{200b}gpj.exe')),
       'what turns characters around is spelled', texts);
    ok(texts.some(t => t.includes('\ufffd')), 'what is no UTF-8 is replaced');
    is(await page.locator('main b#x, main i, main img, main script')
                 .evaluateAll(l => l.filter(e => !e.closest('.track'))
                                    .length), 0, 'no element comes of a text');
    ok(await page.locator('h2', { hasText: 'Zone <i>' }).isVisible(),
       'names of the configuration are text, too');

    const names = page.locator('section[data-zone="<i>"] .graph .name');
    const step = await names.nth(1).textContent();

    ok(/^unix:.{17}\u2026$/.test(step), 'a long name is cut', step);
    ok(/^unix:.*l{60}$/.test(await page.locator(
           'section[data-zone="<i>"] [data-node="1"] > title').textContent()),
       'and is there as a title');

    for (const r of await v.locator('.run').all()) {
        await r.click();
    }

    is(await page.evaluate(() => window.hit), 0, 'nothing of it runs');
    is(await overflow(page), [], '1280 pixels: nothing sticks out');
}


// ---- by keyboard ------------------------------------------------------------

{
    await v.locator('button[data-filter=slow]').focus();
    await page.keyboard.press('Tab');
    ok(await page.evaluate(() => document.activeElement.matches('.run')),
       'Tab gets to the list');
    await page.keyboard.press('Home');

    const first = await page.evaluate(() =>
        document.activeElement.textContent);

    await page.keyboard.press('ArrowDown');

    const second = await page.evaluate(() =>
        document.activeElement.textContent);

    ok(first !== second, 'arrows move in it');
    ok(await page.evaluate(() => {
        const s = getComputedStyle(document.activeElement);
        return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2;
    }), 'the focus is seen');
    await page.keyboard.press('Enter');
    is(await page.evaluate(() =>
           document.activeElement.getAttribute('aria-selected')), 'true',
       'Enter chooses a run');
    ok(await v.locator('.one').isVisible(), 'and shows it');
    await page.keyboard.press('Tab');
    is(await page.evaluate(() => document.activeElement.textContent),
       'Replay', 'Tab leaves the list');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    is([await v.locator('.one').isVisible(),
        await page.evaluate(() => document.activeElement.textContent)],
       [false, second], 'closing goes back to the run');
    await page.keyboard.press('End');
    is(await page.evaluate(() => document.activeElement.nextSibling), null,
       'End');
    await v.locator('summary').focus();
    await page.keyboard.press('Enter');
    is(await v.getAttribute('open'), null, 'a chain can be folded');
    await page.keyboard.press('Enter');
}


// ---- sizes and colours ------------------------------------------------------

await ask('/v/limits', { b: '429 / Retry-After: 45', a: '500' });
await ask('/v/skip', { a: '500' });
await page.mouse.move(0, 0);
await until(async () => await row(v, '/v/skip').count() === 1);
await row(v, '/v/skip').click();
is([await visited(v), await walked(v)],
   [['0', '2'], ['-1 0', '0 2', '2 good']],
   'replay: a limited step is passed over');

{
    const f = chain(page, '/fail/');

    await ask('/fail/1', { a: '429 / Retry-After: 60' });
    await ask('/fail/2');
    await until(async () => await row(f, '/fail/2').count() === 1);
    await row(f, '/fail/2').click();
    is([await walked(f), await end(f)], [['-1 fail'], ['failure']],
       'replay: a run without an attempt');
}

await row(v, '/v/saved').click();

const colours = {};

for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });

    for (const width of [1280, 400]) {
        await page.setViewportSize({ width, height: 900 });
        await v.evaluate(e => e.scrollIntoView());
        await page.evaluate(() => scrollBy(0, -60));
        await until(async () => !(await overflow(page)).length);
        is(await overflow(page), [], `${scheme}, ${width} pixels: no overflow`);
        await shot(page, `page-${width}-${scheme}`);

        if (width === 400 && shots) {
            await v.locator('.facts').evaluate(e => e.scrollIntoView());
            await shot(page, `page-${width}-${scheme}-runs`);
        }
    }

    // contrast of what is read, by WCAG 2

    colours[scheme] = await page.evaluate(() => {
        const light = text => {
            const [r, g, b] = text.match(/[\d.]+/g).map(x => {
                const c = Number(x) / 255;
                return c <= 0.04045 ? c / 12.92
                                    : ((c + 0.055) / 1.055) ** 2.4;
            });

            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const back = light(getComputedStyle(document.querySelector('.chain'))
                           .backgroundColor);

        return {
            back: getComputedStyle(document.body).backgroundColor,
            poor: ['h3', '.dim', '.good', '.fail', '.free', '.limited']
                .filter(s => {
                    const e = document.querySelector('main ' + s);
                    const c = light(getComputedStyle(e).color);

                    return (Math.max(c, back) + 0.05)
                           / (Math.min(c, back) + 0.05) < 4.5;
                })
        };
    });

    is(colours[scheme].poor, [], `${scheme}: contrast`);
}

ok(colours.light.back !== colours.dark.back, 'dark is not light');
await page.setViewportSize({ width: 1280, height: 900 });


// ---- a new configuration ----------------------------------------------------

// what the page gives up meanwhile cannot be answered any more

await page.route('**/*format=json*', async route => {
    const reply = await route.fetch();
    const all = await reply.json();
    const plan = find(all.chains, 'server /v/').plan;

    plan.steps.push({ name: 'b', wait: 90, timeout: 2 });
    all.chains = all.chains.filter(c => c.name !== 'server /dry/');
    find(find(all.zones, 'v').steps, 'a').half_open = 1;
    await route.fulfill({ response: reply, json: all }).catch(() => 0);
});

ok(await until(async () => await v.locator('[data-node]').count() === 4),
   'a chain that has changed is drawn anew');
is([await v.getAttribute('open'), await chain(page, '/dry/').count(),
    await v.getByText('wait 1 min 30 s').count()], ['', 0, 1],
   'it stays unfolded; one that is gone is gone');
is(await v.locator('[data-node="0"] .state').textContent(), 'half-open',
   'a step that is being tried');
await page.unroute('**/*format=json*');
ok(await until(async () => await v.locator('[data-node]').count() === 3
                           && await chain(page, '/dry/').count() === 1),
   'and back');


// ---- hidden, and out of reach -----------------------------------------------

{
    let polls = 0;

    page.on('request', r => polls += /format=json/.test(r.url()) ? 1 : 0);

    const hide = hidden => page.evaluate(on => {
        Object.defineProperty(document, 'hidden', { value: on,
                                                    configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);

    await hide(true);
    await new Promise(done => setTimeout(done, 300 * slow));
    polls = 0;
    await new Promise(done => setTimeout(done, 1700));
    is(polls, 0, 'hidden: it asks for nothing');
    await hide(false);
    ok(await until(() => polls > 0, 1), 'shown: at once');

    expected = true;
    await page.context().setOffline(true);
    ok(await until(() => page.locator('#lost').isVisible()),
       'out of reach: it says so');
    ok(/No answer since .*no connection/.test(
           await page.locator('#lost').textContent()), 'why');
    ok(await v.locator('.run').count() > 0, 'what was shown stays');
    await page.context().setOffline(false);
    ok(await until(() => page.locator('#lost').isHidden()), 'it comes back');
    await page.route('**/*format=json*', r => r.fulfill({ status: 403 }));
    ok(await until(async () => /status 403/.test(
           await page.locator('#lost').textContent())), 'a refusal');
    await page.unroute('**/*format=json*');
    await until(() => page.locator('#lost').isHidden());
    expected = false;
}

// the picture in README

if (shots) {
    const api = chain(page, '/api/');
    const stop = Date.now() + 120000;

    for (let i = 0; Date.now() < stop; i++) {
        const many = 3 + Math.round(3 * Math.sin(i / 9) + Math.random() * 3);

        for (let n = 0; n < many; n++) {
            const pause = 'sleep=' + (Math.random() * 0.06).toFixed(3) + ' ';
            const bad = Math.random();

            ask(`/api/prices/${i}${n}`, bad < 0.02
                ? { a: pause + '500', b: '502', c: pause + '504' }
                : bad < 0.08 ? { a: pause + '500', b: pause + '200' }
                : bad < 0.2 ? { a: '503 | ' + pause + '200' }
                : { a: pause + '200' }).catch(() => 0);
        }

        await new Promise(done => setTimeout(done, 900));
    }

    await ask('/api/orders/4711', { a: '503 | 500', c: 'sleep=0.2 200',
                                    b: 'sleep=0.1 429 / Retry-After: 40' });
    await until(async () => await row(api, '/api/orders/4711').count() === 1);
    await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
    await page.setViewportSize({ width: 1280, height: 880 });
    await row(api, '/api/orders/4711').click();
    await page.mouse.move(0, 0);
    await page.evaluate(() => scrollTo(0, 0));
    await page.locator('section[data-zone=vendor]').evaluate(e => {
        e.scrollIntoView();
    });
    await shot(page, 'status');
}

is(await page.evaluate(() => window.violations), [],
   'nothing against the policy');
is(trouble, [], 'no errors, no requests to elsewhere');

await browser.close();
console.log('1..' + tests);
process.exit(failed ? 1 : 0);
