
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#ifndef _SIM_EVENTS_H_INCLUDED_
#define _SIM_EVENTS_H_INCLUDED_


/* what happens next, and chance */


#include <ngx_config.h>
#include <ngx_core.h>


typedef enum {
    SIM_ARRIVE = 0,
    SIM_REPLY,
    SIM_LOOK,                    /* the timer of a line */
    SIM_LATE                     /* a run cannot wait any longer */
} sim_event_e;


typedef struct {
    uint64_t                       time;
    uint32_t                       number;
    uint16_t                       generation;
    u_char                         kind;
    u_char                         worker;
    uint32_t                       index;      /* of a run or a step */
} sim_event_t;


/* there are none, and chance begins anew */
void sim_events(uint32_t seed);

void sim_event(uint64_t time, ngx_uint_t kind, ngx_uint_t worker,
    ngx_uint_t index, ngx_uint_t generation);

/* NGX_DONE if that was all */
ngx_int_t sim_next(sim_event_t *event);

uint32_t sim_noise(void);
double sim_share(void);


#endif /* _SIM_EVENTS_H_INCLUDED_ */
