/*
 * The handshake, seen from the coordinator: HELLO -> CHALLENGE, PROOF -> WELCOME, or REFUSED at any point.
 *
 * Before its proof a stranger costs one record of at most HELLO_BYTES_LIMIT bytes for a few seconds. There is one
 * record for each connection and a limit for all of them; at the limit the oldest goes, so a flood of strangers can
 * slow newcomers down but not shut them out for long, and never touches those who are in.
 *
 * Any of these messages may come twice, because a request whose connection broke is sent again. A second HELLO makes a
 * new challenge; a second PROOF, while the session has not been used yet, is answered by the same WELCOME.
 */
#include <stdio.h>
#include <utlist.h>

#include "core/errors.h"
#include "server/hub_private.h"

#define TEXT_LIMIT 255 /* bytes of each text in HELLO */

/* --- the table ---------------------------------------------------------------------------------------------------- */

void handshake_free(struct hub *hub, struct handshake *handshake)
{
    HASH_DELETE(by_id, hub->handshakes, handshake);
    if (handshake->pipe)
        HASH_DELETE(by_pipe, hub->handshakes_by_pipe, handshake);
    DL_DELETE(hub->oldest_handshake, handshake);
    if (handshake->session)
        handshake->session->handshake = NULL;
    hub->counts.open_handshakes--;
    memory_free(handshake);
}

void handshake_pipe_lost(struct hub *hub, hub_pipe_id pipe)
{
    struct handshake *handshake;
    HASH_FIND(by_pipe, hub->handshakes_by_pipe, &pipe, sizeof pipe, handshake);
    /* One that has made a session stays: its PROOF may come again over the next connection. */
    if (handshake && !handshake->session)
        handshake_free(hub, handshake);
}

void handshakes_expire(struct hub *hub, uint64_t now_ns)
{
    while (hub->oldest_handshake && hub->oldest_handshake->expires_ns <= now_ns) {
        if (!hub->oldest_handshake->session)
            hub->counts.expired++;
        handshake_free(hub, hub->oldest_handshake);
    }
}

/* Puts it into the table; false if memory ran out (nothing changed). */
static bool handshake_add(struct hub *hub, struct handshake *handshake)
{
    hash_oom = false;
    HASH_ADD(by_id, hub->handshakes, id, HANDSHAKE_ID_BYTES, handshake);
    if (hash_oom)
        return false;
    if (handshake->pipe) {
        HASH_ADD(by_pipe, hub->handshakes_by_pipe, pipe, sizeof handshake->pipe, handshake);
        if (hash_oom) {
            HASH_DELETE(by_id, hub->handshakes, handshake);
            return false;
        }
    }
    DL_APPEND(hub->oldest_handshake, handshake);
    hub->counts.open_handshakes++;
    return true;
}

static struct handshake *handshake_new(struct hub *hub, hub_pipe_id pipe, struct bytes hello, struct bytes peer_nonce,
                                       uint64_t now_ns)
{
    struct handshake *old = NULL;
    if (pipe)
        HASH_FIND(by_pipe, hub->handshakes_by_pipe, &pipe, sizeof pipe, old);
    if (!old && hub->counts.open_handshakes >= hub->config.handshakes) {
        old = hub->oldest_handshake;
        hub->counts.expired++;
    }
    if (old)
        handshake_free(hub, old);
    struct handshake *handshake = memory_zero(sizeof *handshake + hello.length);
    if (!handshake)
        return NULL;
    handshake->pipe = pipe;
    handshake->expires_ns = now_ns + hub->config.handshake_ns;
    handshake->hello_bytes = hello.length;
    memcpy(handshake->hello, hello.data, hello.length);
    memcpy(handshake->peer_nonce, peer_nonce.data, NONCE_BYTES);
    random_bytes(&hub->random, handshake->id, sizeof handshake->id);
    random_bytes(&hub->random, handshake->nonce, sizeof handshake->nonce);
    if (handshake_add(hub, handshake))
        return handshake;
    memory_free(handshake);
    return NULL;
}

/* --- HELLO -------------------------------------------------------------------------------------------------------- */

/* What is wrong with it, or NULL. */
static const char *hello_wrong(const struct message_hello *hello)
{
    if (hello->role < ROLE_CLIENT || hello->role > ROLE_SUPERVISOR)
        return "HELLO names no known role";
    if (hello->identity == 0)
        return "HELLO has no identity";
    if (hello->nonce.length != NONCE_BYTES)
        return "HELLO has a nonce of the wrong length";
    if (hello->language.length > TEXT_LIMIT || hello->host.length > TEXT_LIMIT || hello->domain.length > TEXT_LIMIT ||
        hello->name.length > TEXT_LIMIT)
        return "HELLO has a text of more than 255 bytes";
    return NULL;
}

static void hello_arrived(struct hub *hub, hub_poll_id poll, hub_pipe_id pipe, const struct message_hello *hello,
                          struct bytes encoded, uint64_t now_ns)
{
    if (hello->version != PROTOCOL_VERSION) {
        char reason[160];
        snprintf(reason, sizeof reason,
                 "the peer speaks protocol version %llu, this coordinator (muster %s) version %d: update the older one",
                 (unsigned long long)hello->version, MUSTER_VERSION, PROTOCOL_VERSION);
        hub_refuse(hub, poll, MUSTER_EVERSION, reason, now_ns);
        return;
    }
    const char *wrong = hello_wrong(hello);
    if (!wrong && encoded.length > HELLO_BYTES_LIMIT)
        wrong = "HELLO is too long";
    if (wrong) {
        hub_refuse(hub, poll, MUSTER_EPROTOCOL, wrong, now_ns);
        return;
    }
    struct handshake *handshake = handshake_new(hub, pipe, encoded, hello->nonce, now_ns);
    if (!handshake) {
        hub_refuse(hub, poll, MUSTER_ENOMEM, "the coordinator is out of memory", now_ns);
        return;
    }
    struct message message = {.type = MESSAGE_CHALLENGE};
    message.challenge.version = PROTOCOL_VERSION;
    message.challenge.handshake = (struct bytes){handshake->id, sizeof handshake->id};
    message.challenge.nonce = (struct bytes){handshake->nonce, sizeof handshake->nonce};
    hub_answer(hub, poll, &message);
}

/* --- PROOF -------------------------------------------------------------------------------------------------------- */

static void welcome(struct hub *hub, hub_poll_id poll, const struct handshake *handshake, const char *push_url,
                    uint64_t now_ns)
{
    const struct hub_config *config = &hub->config;
    unsigned char mac[MAC_BYTES];
    struct bytes hello = {handshake->hello, handshake->hello_bytes};
    if (proof_make(&config->authkey, PROOF_COORDINATOR, hello, handshake->peer_nonce, handshake->nonce, mac) != 0) {
        hub_refuse(hub, poll, MUSTER_EINTERNAL, "the coordinator cannot compute a proof", now_ns);
        return;
    }
    struct message message = {.type = MESSAGE_WELCOME};
    message.welcome = (struct message_welcome){
        .mac = {mac, sizeof mac},
        .token = {handshake->session->session.token, TOKEN_BYTES},
        .coordinator = config->coordinator.identity,
        .pid = config->coordinator.pid,
        .domain = bytes_string(config->coordinator.domain),
        .push_url = bytes_string(push_url ? push_url : config->push_url),
        .heartbeat_ms = config->heartbeat_ns / NS_PER_MS,
        .frame_limit = config->frame_limit,
        .payload_limit = config->payload_limit,
        .session_window = config->session_window,
        .task_window = config->coordinator.client_tasks,
        .task_bytes = config->coordinator.client_bytes,
        .definition_bytes = config->coordinator.client_definition_bytes,
    };
    hub_answer(hub, poll, &message);
}

static bool proof_right(struct hub *hub, const struct handshake *handshake, struct bytes mac)
{
    unsigned char expected[MAC_BYTES];
    struct bytes hello = {handshake->hello, handshake->hello_bytes};
    return proof_make(&hub->config.authkey, PROOF_PEER, hello, handshake->peer_nonce, handshake->nonce, expected) ==
               0 &&
           proof_equal(expected, mac);
}

/* A peer that says HELLO again under the same identity has given up its old session. */
static void end_predecessor(struct hub *hub, const struct message_hello *hello, uint64_t now_ns)
{
    struct hub_session *old;
    struct {
        uint64_t role, identity;
    } key = {hello->role, hello->identity};
    HASH_FIND(by_identity, hub->identities, &key, sizeof key, old);
    if (!old)
        return;
    session_break(old, "it opened another session");
    session_end(old, now_ns);
}

static void proof_arrived(struct hub *hub, hub_poll_id poll, const struct message_proof *proof, const char *push_url,
                          uint64_t now_ns)
{
    struct handshake *handshake = NULL;
    if (proof->handshake.length == HANDSHAKE_ID_BYTES)
        HASH_FIND(by_id, hub->handshakes, proof->handshake.data, HANDSHAKE_ID_BYTES, handshake);
    if (!handshake) {
        hub_say_lost(hub, poll, "the handshake is unknown or took too long");
        return;
    }
    if (!proof_right(hub, handshake, proof->mac)) {
        if (!handshake->session)
            handshake_free(hub, handshake);
        hub_refuse(hub, poll, MUSTER_EAUTH, "the authkey is wrong", now_ns);
        return;
    }
    if (!handshake->session) {
        struct bytes encoded = {handshake->hello, handshake->hello_bytes};
        struct message hello;
        const char *why;
        if (message_decode(&encoded, &hello, &why) != 0) { /* it was decoded before, from the same bytes */
            hub_refuse(hub, poll, MUSTER_EINTERNAL, why, now_ns);
            return;
        }
        end_predecessor(hub, &hello.hello, now_ns);
        int status = session_open(hub, &hello.hello, now_ns, &handshake->session);
        if (status != 0) {
            handshake_free(hub, handshake);
            hub_refuse(hub, poll, status, muster_last_error(), now_ns);
            return;
        }
        handshake->session->handshake = handshake;
        hub->counts.handshakes++;
    }
    welcome(hub, poll, handshake, push_url, now_ns);
}

void handshake_poll(struct hub *hub, hub_poll_id poll, hub_pipe_id pipe, const char *push_url,
                    const struct frame_header *header, uint64_t now_ns)
{
    struct bytes input = header->messages;
    struct message message;
    const char *why = "a frame without a session holds exactly one message";
    int status = MUSTER_EPROTOCOL;
    if (header->count == 1)
        status = message_decode(&input, &message, &why);
    if (status == 0 && (input.length != 0 || (message.type != MESSAGE_HELLO && message.type != MESSAGE_PROOF))) {
        status = MUSTER_EPROTOCOL;
        why = "only HELLO and PROOF may come without a session";
    }
    if (status != 0) {
        hub->counts.malformed++;
        hub_refuse(hub, poll, MUSTER_EPROTOCOL, why, now_ns);
    } else if (message.type == MESSAGE_HELLO) {
        hello_arrived(hub, poll, pipe, &message.hello, header->messages, now_ns);
    } else {
        proof_arrived(hub, poll, &message.proof, push_url, now_ns);
    }
}
