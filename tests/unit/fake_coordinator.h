/*
 * The coordinator's side of one conversation, as small as it can be: the handshake and one session whose handler the
 * test gives. For the tests of the link and of its transport.
 */
#ifndef TESTS_UNIT_FAKE_COORDINATOR_H
#define TESTS_UNIT_FAKE_COORDINATOR_H

#include "core/clock.h"
#include "core/link.h"
#include "muster.h"

struct fake_coordinator {
    struct authkey key;
    uint64_t identity, heartbeat_ms;
    const char *push_url;
    uint64_t refuse; /* status to refuse a HELLO with, 0: none */
    session_handler *handler;
    void *arg;
    /* its own */
    struct random random;
    struct buffer hello;
    unsigned char peer_nonce[NONCE_BYTES], nonce[NONCE_BYTES];
    struct session session;
    bool open;
    unsigned sessions; /* opened so far */
    const char *why;
};

static inline void fake_init(struct fake_coordinator *fake, session_handler *handler, void *arg)
{
    *fake = (struct fake_coordinator){.identity = 77, .heartbeat_ms = 5000, .push_url = "ipc:///nowhere.push"};
    fake->handler = handler;
    fake->arg = arg;
    random_seed(&fake->random, "fake", 4);
}

/* Forgets the session, as a coordinator that restarted has. */
static inline void fake_forget(struct fake_coordinator *fake)
{
    if (fake->open)
        session_free(&fake->session);
    fake->open = false;
}

static inline void fake_free(struct fake_coordinator *fake)
{
    fake_forget(fake);
    buffer_free(&fake->hello);
}

static inline void fake_hello(struct fake_coordinator *fake, const struct message *hello, struct buffer *reply)
{
    fake->hello.length = 0;
    message_encode(&fake->hello, hello);
    memcpy(fake->peer_nonce, hello->hello.nonce.data, NONCE_BYTES);
    random_bytes(&fake->random, fake->nonce, NONCE_BYTES);
    struct message answer = {.type = MESSAGE_CHALLENGE,
                             .challenge = {.version = PROTOCOL_VERSION,
                                           .handshake = bytes_string("h1"),
                                           .nonce = {fake->nonce, NONCE_BYTES}}};
    if (fake->refuse)
        answer =
            (struct message){.type = MESSAGE_REFUSED,
                             .refused = {.status = fake->refuse, .version = 9, .reason = bytes_string("not today")}};
    frame_single(reply, &answer);
}

static inline void fake_proof(struct fake_coordinator *fake, const struct message *proof, struct buffer *reply)
{
    unsigned char mac[MAC_BYTES], token[TOKEN_BYTES];
    proof_make(&fake->key, PROOF_PEER, bytes_of(&fake->hello), fake->peer_nonce, fake->nonce, mac);
    struct message answer = {.type = MESSAGE_REFUSED,
                             .refused = {.status = -MUSTER_EAUTH, .reason = bytes_string("wrong key")}};
    if (proof_equal(mac, proof->proof.mac)) {
        proof_make(&fake->key, PROOF_COORDINATOR, bytes_of(&fake->hello), fake->peer_nonce, fake->nonce, mac);
        random_bytes(&fake->random, token, TOKEN_BYTES);
        fake_forget(fake);
        session_init(&fake->session, token, FRAME_LIMIT_DEFAULT, PAYLOAD_LIMIT_DEFAULT);
        fake->open = true;
        fake->sessions++;
        answer = (struct message){.type = MESSAGE_WELCOME,
                                  .welcome = {.mac = {mac, MAC_BYTES},
                                              .token = {token, TOKEN_BYTES},
                                              .coordinator = fake->identity,
                                              .push_url = bytes_string(fake->push_url),
                                              .heartbeat_ms = fake->heartbeat_ms,
                                              .frame_limit = FRAME_LIMIT_DEFAULT,
                                              .payload_limit = PAYLOAD_LIMIT_DEFAULT}};
    }
    frame_single(reply, &answer);
}

/* Takes a frame of the session; false if it is of no session, or malformed. */
static inline bool fake_receive(struct fake_coordinator *fake, const struct frame_header *header)
{
    return fake->open && header->token.length == TOKEN_BYTES &&
           memcmp(header->token.data, fake->session.token, TOKEN_BYTES) == 0 &&
           session_receive(&fake->session, header, fake->handler, fake->arg, &fake->why) == 0;
}

static inline bool fake_push(struct fake_coordinator *fake, struct bytes frame)
{
    struct frame_header header;
    return frame_parse(frame, &header, &fake->why) == 0 && fake_receive(fake, &header);
}

static inline void fake_lost(struct buffer *reply)
{
    struct message message = {.type = MESSAGE_LOST, .lost = {.reason = bytes_string("unknown session")}};
    frame_single(reply, &message);
}

static inline void fake_answer(struct fake_coordinator *fake, struct buffer *reply)
{
    if (!fake->open)
        fake_lost(reply);
    else if (session_next_frame(&fake->session, reply) != 1)
        session_empty_frame(&fake->session, reply);
}

/* Takes a poll. True if *reply is the answer to it; false if it is a poll of the open session: fake_answer() answers
 * it. */
static inline bool fake_poll(struct fake_coordinator *fake, struct bytes frame, struct buffer *reply)
{
    struct frame_header header;
    if (frame_parse(frame, &header, &fake->why) == 0) {
        struct message said;
        if (header.token.length > 0 && fake_receive(fake, &header)) {
            session_rewind(
                &fake->session); /* what the last answer brought and this poll does not acknowledge was lost */
            return false;
        }
        if (header.token.length == 0 && message_decode(&header.messages, &said, &fake->why) == 0) {
            if (said.type == MESSAGE_HELLO)
                return fake_hello(fake, &said, reply), true;
            if (said.type == MESSAGE_PROOF)
                return fake_proof(fake, &said, reply), true;
        }
    }
    fake_lost(reply);
    return true;
}

#endif
