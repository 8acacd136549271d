/*
 * Command templates; see template.h.
 *
 * A template is parsed once into pieces (literals and replacement strings), so that making the command of a job is one
 * walk over the pieces into buffers that are used again for the next job.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/template.h"

/* --- parts of a path ---------------------------------------------------------------------------------------------- */

static struct bytes without_extension(struct bytes value)
{
    const char *text = value.data;
    for (size_t i = value.length; i > 0 && text[i - 1] != '/'; i--)
        if (text[i - 1] == '.')
            return (struct bytes){text, i - 1};
    return value;
}

static struct bytes without_folders(struct bytes value)
{
    const char *slash = value.length > 0 ? memrchr(value.data, '/', value.length) : NULL;
    if (!slash)
        return value;
    const char *text = value.data;
    return (struct bytes){slash + 1, (size_t)(text + value.length - (slash + 1))};
}

/* As dirname(1) does it. */
static struct bytes folder_of(struct bytes value)
{
    const char *text = value.data;
    size_t length = value.length;
    while (length > 1 && text[length - 1] == '/')
        length--;
    while (length > 0 && text[length - 1] != '/')
        length--;
    if (length == 0)
        return bytes_string(".");
    while (length > 1 && text[length - 1] == '/')
        length--;
    return (struct bytes){text, length};
}

static struct bytes part_of(struct bytes value, enum template_part part)
{
    switch (part) {
    case TEMPLATE_STEM: return without_extension(value);
    case TEMPLATE_NAME: return without_folders(value);
    case TEMPLATE_FOLDER: return folder_of(value);
    case TEMPLATE_BASENAME: return without_extension(without_folders(value));
    default: return value;
    }
}

/* --- parsing ------------------------------------------------------------------------------------------------------ */

static void add_piece(struct template *template, struct template_piece piece)
{
    if (piece.part == TEMPLATE_LITERAL && piece.literal.length == 0)
        return;
    template->pieces = cli_resize(template->pieces, (template->piece_count + 1) * sizeof *template->pieces);
    template->pieces[template->piece_count++] = piece;
    if (piece.part == TEMPLATE_SLOT)
        template->uses_slot = true;
    else if (piece.part != TEMPLATE_LITERAL && piece.part != TEMPLATE_NUMBER)
        template->uses_values = true;
}

static void begin_word(struct template *template)
{
    template->words = cli_resize(template->words, (template->word_count + 1) * sizeof *template->words);
    template->words[template->word_count++] = (struct template_word){template->piece_count, 0};
}

static void end_word(struct template *template)
{
    struct template_word *word = &template->words[template->word_count - 1];
    word->count = template->piece_count - word->first;
}

/* Reads a replacement string at the start of `text`: its length, or 0 if there is none. */
static size_t read_placeholder(const char *text, struct template_piece *piece)
{
    static const struct {
        const char *name;
        enum template_part part;
    } parts[] = {{"//}", TEMPLATE_FOLDER}, {"/.}", TEMPLATE_BASENAME}, {"/}", TEMPLATE_NAME}, {".}", TEMPLATE_STEM},
                 {"}", TEMPLATE_WHOLE},    {"#}", TEMPLATE_NUMBER},    {"%}", TEMPLATE_SLOT}};
    if (text[0] != '{')
        return 0;
    const char *at = text + 1;
    long column = 0;
    if (isdigit((unsigned char)*at) || (*at == '-' && isdigit((unsigned char)at[1]))) {
        char *end;
        column = strtol(at, &end, 10);
        if (column == 0 || column > 100000 || column < -100000)
            return 0;
        at = end;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        size_t length = strlen(parts[i].name);
        bool of_job = parts[i].part == TEMPLATE_NUMBER || parts[i].part == TEMPLATE_SLOT;
        if (strncmp(at, parts[i].name, length) != 0 || (of_job && column != 0))
            continue;
        *piece = (struct template_piece){.part = parts[i].part, .column = (int)column};
        return (size_t)(at - text) + length;
    }
    return 0;
}

static void parse_word(struct template *template, const char *word, const char *placeholder)
{
    size_t placeholder_length = strlen(placeholder);
    const char *literal = word;
    while (*word) {
        struct template_piece piece = {.part = TEMPLATE_WHOLE};
        size_t length = placeholder_length;
        if (length == 0 || strncmp(word, placeholder, length) != 0)
            length = read_placeholder(word, &piece);
        if (length == 0) {
            word++;
            continue;
        }
        add_piece(template, (struct template_piece){.literal = {literal, (size_t)(word - literal)}});
        add_piece(template, piece);
        word += length;
        literal = word;
    }
    add_piece(template, (struct template_piece){.literal = {literal, (size_t)(word - literal)}});
}

void template_parse(struct template *template, char *const *words, size_t count, enum template_quoting quoting,
                    const char *placeholder, bool append)
{
    static const struct template_piece space = {.literal = {" ", 1}};
    static const struct template_piece item = {.part = TEMPLATE_WHOLE};

    *template = (struct template){.quoting = quoting};
    for (size_t i = 0; i < count; i++) {
        if (quoting == TEMPLATE_PLAIN || i == 0)
            begin_word(template);
        else
            add_piece(template, space);
        parse_word(template, words[i], placeholder);
        end_word(template);
    }
    if (!append || template->uses_values)
        return;
    if (quoting == TEMPLATE_PLAIN || count == 0)
        begin_word(template);
    else
        add_piece(template, space);
    add_piece(template, item);
    end_word(template);
}

void template_free(struct template *template)
{
    memory_free(template->pieces);
    memory_free(template->words);
    *template = (struct template){0};
}

bool template_wants_shell(const char *word)
{
    struct template_piece piece;
    if (*word == '\0')
        return false;
    while (*word) {
        size_t length = read_placeholder(word, &piece);
        if (length == 0 && strchr(" \t\n|&;<>()$`\\\"'*?[]#~!{}", *word))
            return true;
        word += length ? length : 1;
    }
    return false;
}

/* --- expanding ---------------------------------------------------------------------------------------------------- */

void words_clear(struct words *words)
{
    words->text.length = 0;
    words->count = 0;
}

void words_free(struct words *words)
{
    buffer_free(&words->text);
    memory_free(words->ends);
    *words = (struct words){0};
}

struct bytes words_at(const struct words *words, size_t index)
{
    size_t start = index == 0 ? 0 : words->ends[index - 1];
    /* The text of empty words may not have been allocated. */
    return (struct bytes){words->text.data ? (const char *)words->text.data + start : "", words->ends[index] - start};
}

static void finish_word(struct words *words)
{
    if (words->count == words->capacity) {
        words->capacity = words->capacity ? words->capacity * 2 : 16;
        words->ends = cli_resize(words->ends, words->capacity * sizeof *words->ends);
    }
    words->ends[words->count++] = words->text.length;
}

static void put_value(const struct template *template, struct bytes value, struct buffer *text)
{
    if (template->quoting == TEMPLATE_FOR_SHELL)
        quote_for_shell(text, value);
    else
        cli_append(text, value.data, value.length);
}

/* The values that a piece stands for: values[*first .. *first + *count). A column that is not there gives none. */
static void piece_range(const struct template_piece *piece, const struct template_values *values, size_t *first,
                        size_t *count)
{
    size_t column = piece->column < 0 ? (size_t)-piece->column : (size_t)piece->column;
    *first = 0;
    *count = values->count;
    if (piece->column == 0)
        return;
    *count = column <= values->count ? 1 : 0;
    if (*count > 0)
        *first = piece->column > 0 ? column - 1 : values->count - column;
}

static void put_piece(const struct template *template, const struct template_piece *piece,
                      const struct template_values *values, struct buffer *text)
{
    size_t first, count;
    switch (piece->part) {
    case TEMPLATE_LITERAL: cli_append(text, piece->literal.data, piece->literal.length); return;
    case TEMPLATE_NUMBER:
    case TEMPLATE_SLOT:
        if (buffer_printf(text, "%llu",
                          (unsigned long long)(piece->part == TEMPLATE_SLOT ? values->slot : values->number)) != 0)
            cli_fail("out of memory");
        return;
    default: break;
    }
    piece_range(piece, values, &first, &count);
    for (size_t i = first; i < first + count; i++) {
        if (i > first)
            cli_append(text, " ", 1);
        put_value(template, part_of(values->values[i], piece->part), text);
    }
}

/* A word that is one replacement string and nothing else: a word for each value. */
static bool expand_alone(const struct template *template, const struct template_word *word,
                         const struct template_values *values, struct words *words)
{
    const struct template_piece *piece = &template->pieces[word->first];
    if (template->quoting != TEMPLATE_PLAIN || word->count != 1 || piece->column != 0 ||
        piece->part == TEMPLATE_LITERAL || piece->part == TEMPLATE_NUMBER || piece->part == TEMPLATE_SLOT)
        return false;
    for (size_t i = 0; i < values->count; i++) {
        struct bytes value = part_of(values->values[i], piece->part);
        cli_append(&words->text, value.data, value.length);
        finish_word(words);
    }
    return true;
}

void template_expand(const struct template *template, const struct template_values *values, struct words *words)
{
    words_clear(words);
    for (size_t w = 0; w < template->word_count; w++) {
        const struct template_word *word = &template->words[w];
        if (expand_alone(template, word, values, words))
            continue;
        for (size_t i = 0; i < word->count; i++)
            put_piece(template, &template->pieces[word->first + i], values, &words->text);
        finish_word(words);
    }
}

void template_expand_text(const struct template *template, const struct template_values *values, struct buffer *text)
{
    text->length = 0;
    for (size_t w = 0; w < template->word_count; w++) {
        const struct template_word *word = &template->words[w];
        if (w > 0)
            cli_append(text, " ", 1);
        for (size_t i = 0; i < word->count; i++)
            put_piece(template, &template->pieces[word->first + i], values, text);
    }
}

/* --- quoting ------------------------------------------------------------------------------------------------------ */

static bool is_bare(unsigned char byte)
{
    return isalnum(byte) || (byte && strchr("_-+=./:,@%^", byte));
}

static bool all_bare(struct bytes value)
{
    const unsigned char *text = value.data;
    for (size_t i = 0; i < value.length; i++)
        if (!is_bare(text[i]))
            return false;
    /* "a=b" and "=b" are special at the head of a command, "~" is not in the list at all. */
    return value.length > 0 && !memchr(value.data, '=', value.length);
}

void quote_for_shell(struct buffer *text, struct bytes value)
{
    const char *at = value.data;
    size_t left = value.length;
    if (all_bare(value)) {
        cli_append(text, value.data, value.length);
        return;
    }
    cli_append(text, "'", 1);
    while (left > 0) {
        const char *quote = memchr(at, '\'', left);
        size_t plain = quote ? (size_t)(quote - at) : left;
        cli_append(text, at, plain);
        if (!quote)
            break;
        cli_append(text, "'\\''", 4);
        at += plain + 1;
        left -= plain + 1;
    }
    cli_append(text, "'", 1);
}

void quote_for_people(struct buffer *text, struct bytes value)
{
    const unsigned char *at = value.data;
    bool control = false;
    for (size_t i = 0; i < value.length && !control; i++)
        control = at[i] < 0x20 || at[i] == 0x7f;
    if (!control) {
        quote_for_shell(text, value);
        return;
    }
    cli_append(text, "$'", 2);
    for (size_t i = 0; i < value.length; i++) {
        static const char named[] = "\n\t\r\\'", names[] = "ntr\\'";
        const char *found = at[i] ? strchr(named, at[i]) : NULL;
        char escape[5] = {'\\', '0', 0, 0, 0};
        if (found) {
            escape[1] = names[found - named];
            cli_append(text, escape, 2);
        } else if (at[i] < 0x20 || at[i] == 0x7f) {
            escape[1] = (char)('0' + (at[i] >> 6));
            escape[2] = (char)('0' + (at[i] >> 3 & 7));
            escape[3] = (char)('0' + (at[i] & 7));
            cli_append(text, escape, 4);
        } else {
            cli_append(text, &at[i], 1);
        }
    }
    cli_append(text, "'", 1);
}
