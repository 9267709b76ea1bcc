// The rooms of the kind whose nodes are processes: its places, their identities, their shapes.
#pragma once
#include "base/buf.h"
#include "dream/join_door.h"
#include "dream/universe_inner.h"
#include "io/proc.h"
#include "mesh/keyring.h"
#include "node/member.h"

enum { PLACES_MAX = NODES_COUNT + ELDERS_MAX + 3 * COPIES_MAX, PLACE_PROBLEM_TEXT = 320 };

// One node, whether it runs or not.
typedef struct place {
    universe *universe;
    size_t index;
    str name; // "substrate-2"
    const node_plan *plan;
    size_t number; // 0, 1, … of the same plan
    member member;
    timer *wake;
    proc *proc;
    buf output, journal;              // lines that are not whole yet
    int server_pid;                   // of an elder's meshd
    size_t failures;                  // ends before it was ready, one after another
    char problem[PLACE_PROBLEM_TEXT]; // why its last process could not be the node
    err_code problem_code;
    universe_node_started *started;
    void *started_data;
    void (*stopped)(void *data);
    void *stopped_data;
} place;

typedef struct processes {
    place places[PLACES_MAX];
    size_t count;
    keyring *keyring; // of node "dream", which asks for people
    mesh_engine *engine;
    mesh *mesh;
    bool caught_up; // the mesh
    forge *forge;
    join_door *door;
    timer *deadline; // of the start
    timer *renew;
    struct renewing *renewing;
    bool closing, forge_closing, door_closing, left;
} processes;

// processes_place.c: what a place is and where its doors are.
err places_plan(universe *u) MUST_USE;
bool place_is_elder(const place *k);
protocol_doors place_doors(const place *k);
size_t place_copies(const place *k); // parallel jobs of a monkey
bool places_ports_are_free(universe *u, uint16_t shift);
// Writes DIR/config/NAME.yaml when it is not there as it should be.
err place_write_shape(place *k) MUST_USE;
uint16_t places_join_port(const universe *u);
// The mesh's servers, for whoever joins; address texts live as long as the universe.
size_t places_servers(universe *u, mesh_server out[ELDERS_MAX]);

// processes_keys.c: identities of the nodes, made at the start and renewed long before they end.
// Blocks. Each node's keyring, and the deny list.
err processes_keys(universe *u) MUST_USE;
// Renews on a helper thread what is to be renewed; `dream`'s own is taken over.
void processes_renew(universe *u);
void processes_on_part_closed(universe *u); // processes.c
