/*
 * docs/protocol.md is true: its tables are the codec's, and its examples decode, and encode to the same bytes again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/handshake.h"
#include "core/session.h"
#include "muster.h"

#define LINE_BYTES 4096
#define TYPES 128

/* What a walk through the page has seen. */
struct page {
    FILE *file;
    char line[LINE_BYTES];
    unsigned number; /* of the line */
    enum message_type type;
    unsigned row; /* of the table of this type */
    unsigned headings[TYPES], examples[TYPES], frames;
    struct buffer hello, authkey, peer_nonce, coordinator_nonce, peer_mac, coordinator_mac;
};

#define page_fail(page, ...)                                  \
    do {                                                      \
        print_error("docs/protocol.md:%u: ", (page)->number); \
        print_error(__VA_ARGS__);                             \
        print_error("\n");                                    \
        fail();                                               \
    } while (0)

static bool page_line(struct page *page)
{
    if (!fgets(page->line, sizeof page->line, page->file))
        return false;
    page->number++;
    page->line[strcspn(page->line, "\n")] = '\0';
    return true;
}

/* All rows of the table of the current type were there. */
static void end_table(struct page *page)
{
    if (page->type != 0 && message_fields(page->type)[page->row].name)
        page_fail(page, "%s lacks the field %s", message_name(page->type), message_fields(page->type)[page->row].name);
    page->type = 0;
}

static void heading(struct page *page)
{
    char name[64];
    unsigned number;
    end_table(page);
    if (sscanf(page->line, "### %63[A-Z_] (%u)", name, &number) != 2)
        return;
    if (number >= TYPES || strcmp(message_name((enum message_type)number), name) != 0)
        page_fail(page, "%s is not number %u", name, number);
    page->type = (enum message_type)number;
    page->row = 0;
    page->headings[number]++;
}

static void table_row(struct page *page)
{
    char kind[32], name[64];
    if (page->type == 0 || sscanf(page->line, "| %31[a-z] | %63[a-z_] | %*c", kind, name) != 2 ||
        strcmp(kind, "kind") == 0)
        return;
    const struct message_field *field = &message_fields(page->type)[page->row++];
    if (!field->name || strcmp(field->kind, kind) != 0 || strcmp(field->name, name) != 0)
        page_fail(page, "%s has '%s %s' here", message_name(page->type), field->name ? field->kind : "no",
                  field->name ? field->name : "field");
}

/* The bytes of a block, up to its end. */
static void read_hex(struct page *page, struct buffer *out)
{
    out->length = 0;
    while (page_line(page) && strcmp(page->line, "```") != 0) {
        char *at = page->line, *end;
        for (unsigned long byte; (byte = strtoul(at, &end, 16)), end != at; at = end) {
            if (byte > 255)
                page_fail(page, "not a byte: %lx", byte);
            unsigned char one = (unsigned char)byte;
            assert_int_equal(buffer_append(out, &one, 1), 0);
        }
        if (*at)
            page_fail(page, "not hexadecimal: %s", at);
    }
}

/* Decodes the next message of `input`, and checks that encoding it gives the same bytes. */
static void check_message(struct page *page, struct bytes *input, struct message *message)
{
    struct buffer again = {0};
    const unsigned char *start = input->data;
    const char *why;
    if (message_decode(input, message, &why) != 0)
        page_fail(page, "the example does not decode: %s", why);
    assert_int_equal(message_encode(&again, message), 0);
    size_t length = (size_t)((const unsigned char *)input->data - start);
    if (!bytes_equal(bytes_of(&again), (struct bytes){start, length}))
        page_fail(page, "the example of %s encodes to other bytes", message_name(message->type));
    buffer_free(&again);
}

static void message_example(struct page *page)
{
    struct buffer bytes = {0};
    struct message message;
    read_hex(page, &bytes);
    struct bytes input = bytes_of(&bytes);
    check_message(page, &input, &message);
    if (input.length > 0 || message.type != page->type)
        page_fail(page, "the example is not one %s", message_name(page->type));
    page->examples[message.type]++;
    if (message.type == MESSAGE_HELLO)
        assert_int_equal(buffer_append(&page->hello, bytes.data, bytes.length), 0);
    if (message.type == MESSAGE_PROOF)
        assert_true(bytes_equal(message.proof.mac, bytes_of(&page->peer_mac)));
    if (message.type == MESSAGE_WELCOME)
        assert_true(bytes_equal(message.welcome.mac, bytes_of(&page->coordinator_mac)));
    buffer_free(&bytes);
}

static void frame_example(struct page *page)
{
    struct buffer bytes = {0};
    struct frame_header header;
    struct message message;
    const char *why;
    read_hex(page, &bytes);
    if (frame_parse(bytes_of(&bytes), &header, &why) != 0)
        page_fail(page, "the frame is none: %s", why);
    for (size_t i = 0; i < header.count; i++)
        check_message(page, &header.messages, &message);
    if (header.messages.length > 0)
        page_fail(page, "bytes follow the messages of the frame");
    page->frames++;
    buffer_free(&bytes);
}

static void block(struct page *page)
{
    const char *language = page->line + 3;
    if (strcmp(language, "message") == 0)
        message_example(page);
    else if (strcmp(language, "frame") == 0)
        frame_example(page);
    else if (strcmp(language, "authkey") == 0)
        read_hex(page, &page->authkey);
    else if (strcmp(language, "peer-nonce") == 0)
        read_hex(page, &page->peer_nonce);
    else if (strcmp(language, "coordinator-nonce") == 0)
        read_hex(page, &page->coordinator_nonce);
    else if (strcmp(language, "peer-mac") == 0)
        read_hex(page, &page->peer_mac);
    else if (strcmp(language, "coordinator-mac") == 0)
        read_hex(page, &page->coordinator_mac);
    else
        page_fail(page, "a block of an unknown kind: %s", language);
}

static struct page page;

static int walk(void **state)
{
    (void)state;
    page.file = fopen(MUSTER_SOURCE_DIR "/docs/protocol.md", "r");
    if (!page.file)
        return -1;
    return 0;
}

static int forget(void **state)
{
    (void)state;
    struct buffer *buffers[] = {&page.hello,    &page.authkey,        &page.peer_nonce, &page.coordinator_nonce,
                                &page.peer_mac, &page.coordinator_mac};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        buffer_free(buffers[i]);
    return fclose(page.file);
}

static void tables_and_examples_are_the_codecs(void **state)
{
    (void)state;
    while (page_line(&page)) {
        if (strncmp(page.line, "#", 1) == 0)
            heading(&page);
        else if (strncmp(page.line, "|", 1) == 0)
            table_row(&page);
        else if (strncmp(page.line, "```", 3) == 0)
            block(&page);
    }
    end_table(&page);
    assert_true(page.frames >= 4);
}

static void every_message_has_one_section_and_an_example(void **state)
{
    (void)state;
    for (unsigned type = 0; type < TYPES; type++) {
        unsigned expected = message_fields((enum message_type)type) ? 1 : 0;
        if (page.headings[type] != expected || page.examples[type] != expected)
            page_fail(&page, "%s (%u) has %u sections and %u examples", message_name((enum message_type)type), type,
                      page.headings[type], page.examples[type]);
    }
}

static void the_example_of_the_handshake_is_right(void **state)
{
    (void)state;
    struct authkey key = {.length = page.authkey.length};
    unsigned char mac[MAC_BYTES];
    assert_in_range(key.length, 1, AUTHKEY_LIMIT);
    memcpy(key.bytes, page.authkey.data, key.length);
    assert_int_equal(page.peer_nonce.length, NONCE_BYTES);
    assert_int_equal(page.coordinator_nonce.length, NONCE_BYTES);
    assert_int_equal(
        proof_make(&key, PROOF_PEER, bytes_of(&page.hello), page.peer_nonce.data, page.coordinator_nonce.data, mac), 0);
    assert_true(proof_equal(mac, bytes_of(&page.peer_mac)));
    assert_int_equal(proof_make(&key, PROOF_COORDINATOR, bytes_of(&page.hello), page.peer_nonce.data,
                                page.coordinator_nonce.data, mac),
                     0);
    assert_true(proof_equal(mac, bytes_of(&page.coordinator_mac)));
}

/* Every MUSTER_E... of muster.h stands in the table of statuses with its number. */
static void the_statuses_are_those_of_the_header(void **state)
{
    (void)state;
    char line[LINE_BYTES], name[64], cell[100];
    int number, statuses = 0;
    struct buffer text = {0};
    rewind(page.file);
    while (fgets(line, sizeof line, page.file))
        assert_int_equal(buffer_append(&text, line, strlen(line)), 0);
    assert_int_equal(buffer_append(&text, "", 1), 0);
    FILE *header = fopen(MUSTER_SOURCE_DIR "/bindings/c/muster.h", "r");
    assert_non_null(header);
    while (fgets(line, sizeof line, header)) {
        if (sscanf(line, " MUSTER_%63[A-Z] = -%d", name, &number) != 2)
            continue;
        snprintf(cell, sizeof cell, "| %d | %s |", number, name);
        if (!strstr((char *)text.data, cell))
            page_fail(&page, "the table of statuses lacks '%s'", cell);
        statuses++;
    }
    fclose(header);
    buffer_free(&text);
    assert_int_equal(statuses, -MUSTER_EBROKEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_and_examples_are_the_codecs),
        cmocka_unit_test(every_message_has_one_section_and_an_example),
        cmocka_unit_test(the_example_of_the_handshake_is_right),
        cmocka_unit_test(the_statuses_are_those_of_the_header),
    };
    return cmocka_run_group_tests(tests, walk, forget);
}
