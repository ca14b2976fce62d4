/*
 * Decodes the LZMA2 data of one block of an xz stream, from memory to memory, as WebAssembly: a build decodes some hundred
 * megabytes of it. Whatever the input, nothing outside of the module's own memory can be touched.
 * Facts: "LZMA specification (DRAFT version)" of the LZMA SDK; "The .xz File Format" 1.2.1, 5.3.1.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define STATES 12
#define POSITION_STATES 16
#define PROBABILITY_BITS 11
#define PROBABILITY_INIT (1 << (PROBABILITY_BITS - 1))
#define MOVE_BITS 5
#define TOP (1u << 24)
#define MIN_MATCH 2
/* lc + lp is at most 4. */
#define MAX_LITERAL_CODERS 16

enum { OK = 0, DAMAGED = 1, TRUNCATED = 2 };

struct length_coder {
	u16 choice, choice2;
	u16 low[POSITION_STATES][8];
	u16 mid[POSITION_STATES][8];
	u16 high[256];
};

/* Only 16-bit numbers, so that a reset is one loop. */
static struct {
	u16 is_match[STATES][POSITION_STATES];
	u16 is_repeat[STATES];
	u16 is_repeat0[STATES];
	u16 is_repeat1[STATES];
	u16 is_repeat2[STATES];
	u16 is_repeat0_long[STATES][POSITION_STATES];
	u16 slot[4][64];
	u16 special[128];
	u16 align[16];
	struct length_coder match_length, repeat_length;
	u16 literal[MAX_LITERAL_CODERS][0x300];
} probabilities;

static u32 state, repeats[4];
static u32 literal_context, literal_position_mask, position_mask;
static u64 crc_table[8][256];

static void reset_state(void)
{
	u16 *all = (u16 *)&probabilities;
	for (u32 i = 0; i < sizeof probabilities / sizeof *all; i++)
		all[i] = PROBABILITY_INIT;
	state = 0;
	for (int i = 0; i < 4; i++)
		repeats[i] = 0;
}

#define NORMALIZE() \
	do { \
		if (range < TOP) { \
			range <<= 8; \
			code = (code << 8) | *in++; \
		} \
	} while (0)

/* Begins a decision; what follows is done for a 0 bit, with BIT_0, or for a 1 bit, with BIT_1. */
#define IF_0(probability) \
	NORMALIZE(); \
	value = (probability); \
	bound = (range >> PROBABILITY_BITS) * value; \
	if (code < bound)
#define BIT_0(probability) \
	do { \
		range = bound; \
		(probability) = (u16)(value + (((1u << PROBABILITY_BITS) - value) >> MOVE_BITS)); \
	} while (0)
#define BIT_1(probability) \
	do { \
		range -= bound; \
		code -= bound; \
		(probability) = (u16)(value - (value >> MOVE_BITS)); \
	} while (0)

#define TREE_BIT(tree, symbol) \
	do { \
		u16 *node = &(tree)[symbol]; \
		IF_0(*node) { \
			BIT_0(*node); \
			symbol = symbol << 1; \
		} else { \
			BIT_1(*node); \
			symbol = (symbol << 1) | 1; \
		} \
	} while (0)

#define REVERSE_TREE_BIT(tree, symbol, result, position) \
	do { \
		u16 *node = &(tree)[symbol]; \
		IF_0(*node) { \
			BIT_0(*node); \
			symbol = symbol << 1; \
		} else { \
			BIT_1(*node); \
			symbol = (symbol << 1) | 1; \
			result += 1u << (position); \
		} \
	} while (0)

/*
 * One LZMA chunk. `in_end` is the end of its input: reading may go a few bytes beyond, which is noticed after the symbol.
 * `start` is where the dictionary begins.
 */
static int decode_chunk(const u8 *in, const u8 *in_end, u8 *start, u8 *out, u8 *out_end, u32 dictionary)
{
	u32 range = 0xffffffff, code, value, bound;
	u32 s = state, rep0 = repeats[0], rep1 = repeats[1], rep2 = repeats[2], rep3 = repeats[3];
	const u32 lc = literal_context, lp_mask = literal_position_mask, pb_mask = position_mask;

	if (in_end - in < 5 || in[0] != 0)
		return DAMAGED;
	code = (u32)in[1] << 24 | (u32)in[2] << 16 | (u32)in[3] << 8 | in[4];
	in += 5;

	while (out < out_end) {
		const u32 position = (u32)(out - start);
		const u32 position_state = position & pb_mask;
		u32 length, symbol;
		struct length_coder *coder;

		if (in > in_end)
			return TRUNCATED;
		u16 *is_match = &probabilities.is_match[s][position_state];
		IF_0(*is_match) {
			BIT_0(*is_match);
			const u32 previous = position ? out[-1] : 0;
			const u32 which = ((position & lp_mask) << lc) + (previous >> (8 - lc));
			u16 *tree = probabilities.literal[which];
			symbol = 1;
			if (s >= 7) {
				if (rep0 >= position)
					return DAMAGED;
				u32 match = out[-(int)rep0 - 1];
				u32 offset = 0x100;
				do {
					match <<= 1;
					const u32 match_bit = match & offset;
					u16 *node = &tree[offset + match_bit + symbol];
					IF_0(*node) {
						BIT_0(*node);
						symbol <<= 1;
						offset &= ~match_bit;
					} else {
						BIT_1(*node);
						symbol = (symbol << 1) | 1;
						offset &= match_bit;
					}
				} while (symbol < 0x100);
			} else {
				do
					TREE_BIT(tree, symbol);
				while (symbol < 0x100);
			}
			s = s < 4 ? 0 : s < 10 ? s - 3 : s - 6;
			*out++ = (u8)symbol;
			continue;
		}
		BIT_1(*is_match);

		u16 *is_repeat = &probabilities.is_repeat[s];
		IF_0(*is_repeat) {
			BIT_0(*is_repeat);
			rep3 = rep2;
			rep2 = rep1;
			rep1 = rep0;
			s = s < 7 ? 7 : 10;
			coder = &probabilities.match_length;
		} else {
			BIT_1(*is_repeat);
			u16 *node = &probabilities.is_repeat0[s];
			IF_0(*node) {
				BIT_0(*node);
				node = &probabilities.is_repeat0_long[s][position_state];
				IF_0(*node) {
					BIT_0(*node);
					if (rep0 >= position)
						return DAMAGED;
					s = s < 7 ? 9 : 11;
					*out = out[-(int)rep0 - 1];
					out++;
					continue;
				}
				BIT_1(*node);
			} else {
				u32 distance;
				BIT_1(*node);
				node = &probabilities.is_repeat1[s];
				IF_0(*node) {
					BIT_0(*node);
					distance = rep1;
				} else {
					BIT_1(*node);
					node = &probabilities.is_repeat2[s];
					IF_0(*node) {
						BIT_0(*node);
						distance = rep2;
					} else {
						BIT_1(*node);
						distance = rep3;
						rep3 = rep2;
					}
					rep2 = rep1;
				}
				rep1 = rep0;
				rep0 = distance;
			}
			s = s < 7 ? 8 : 11;
			coder = &probabilities.repeat_length;
		}

		IF_0(coder->choice) {
			BIT_0(coder->choice);
			u16 *tree = coder->low[position_state];
			symbol = 1;
			TREE_BIT(tree, symbol);
			TREE_BIT(tree, symbol);
			TREE_BIT(tree, symbol);
			length = symbol - 8;
		} else {
			BIT_1(coder->choice);
			IF_0(coder->choice2) {
				BIT_0(coder->choice2);
				u16 *tree = coder->mid[position_state];
				symbol = 1;
				TREE_BIT(tree, symbol);
				TREE_BIT(tree, symbol);
				TREE_BIT(tree, symbol);
				length = symbol;
			} else {
				BIT_1(coder->choice2);
				symbol = 1;
				do
					TREE_BIT(coder->high, symbol);
				while (symbol < 256);
				length = symbol - 256 + 16;
			}
		}

		if (coder == &probabilities.match_length) {
			u16 *tree = probabilities.slot[length < 4 ? length : 3];
			symbol = 1;
			do
				TREE_BIT(tree, symbol);
			while (symbol < 64);
			const u32 slot = symbol - 64;
			if (slot < 4) {
				rep0 = slot;
			} else {
				u32 bits = (slot >> 1) - 1;
				rep0 = (2 | (slot & 1)) << bits;
				symbol = 1;
				if (slot < 14) {
					u16 *special = probabilities.special + rep0 - slot;
					for (u32 i = 0; i < bits; i++)
						REVERSE_TREE_BIT(special, symbol, rep0, i);
				} else {
					u32 high = 0;
					for (bits -= 4; bits > 0; bits--) {
						NORMALIZE();
						range >>= 1;
						code -= range;
						const u32 mask = 0u - (code >> 31);
						code += range & mask;
						high = (high << 1) + mask + 1;
					}
					rep0 += high << 4;
					for (u32 i = 0; i < 4; i++)
						REVERSE_TREE_BIT(probabilities.align, symbol, rep0, i);
				}
			}
		}

		length += MIN_MATCH;
		/* Also refuses the end marker of LZMA, which LZMA2 does not have. */
		if (rep0 >= position || rep0 >= dictionary || length > (u32)(out_end - out))
			return DAMAGED;
		const u8 *from = out - rep0 - 1;
		u8 *const end = out + length;
		if (rep0 >= 7)
			for (; end - out >= 8; out += 8, from += 8)
				__builtin_memcpy(out, from, 8);
		while (out < end)
			*out++ = *from++;
	}
	NORMALIZE();
	if (in != in_end || code != 0)
		return DAMAGED;
	state = s;
	repeats[0] = rep0;
	repeats[1] = rep1;
	repeats[2] = rep2;
	repeats[3] = rep3;
	return OK;
}

/*
 * Decodes the LZMA2 data of a block. Behind the input there must be 32 bytes that may be read.
 * Returns how many bytes of input it took, or 0 when it is damaged or does not give exactly `out_size` bytes.
 */
__attribute__((export_name("decode"))) u32 decode(const u8 *in, u32 in_size, u8 *out, u32 out_size, u32 dictionary)
{
	const u8 *const in_start = in, *const in_end = in + in_size;
	u8 *const out_end = out + out_size;
	u8 *start = out;
	int needs_dictionary = 1, needs_properties = 1;

	while (in < in_end) {
		const u32 control = *in++;
		if (control == 0)
			return out == out_end ? (u32)(in - in_start) : 0;
		if (control >= 0xe0 || control == 1) {
			needs_dictionary = 0;
			needs_properties = 1;
			start = out;
		} else if (needs_dictionary) {
			return 0;
		}
		if (control < 0x80) {
			if (control > 2 || in_end - in < 2)
				return 0;
			const u32 size = ((u32)in[0] << 8 | in[1]) + 1;
			in += 2;
			if (size > (u32)(in_end - in) || size > (u32)(out_end - out))
				return 0;
			__builtin_memcpy(out, in, size);
			in += size;
			out += size;
			continue;
		}
		if (in_end - in < 5)
			return 0;
		const u32 plain = ((control & 0x1f) << 16) + ((u32)in[0] << 8 | in[1]) + 1;
		const u32 packed = ((u32)in[2] << 8 | in[3]) + 1;
		in += 4;
		if (control >= 0xc0) {
			u32 properties = *in++;
			if (properties >= 225)
				return 0;
			literal_context = properties % 9;
			properties /= 9;
			literal_position_mask = (1u << (properties % 5)) - 1;
			if (literal_context + properties % 5 > 4)
				return 0;
			position_mask = (1u << (properties / 5)) - 1;
			needs_properties = 0;
		} else if (needs_properties) {
			return 0;
		}
		if (control >= 0xa0)
			reset_state();
		if (packed > (u32)(in_end - in) || plain > (u32)(out_end - out))
			return 0;
		if (decode_chunk(in, in + packed, start, out, out + plain, dictionary) != OK)
			return 0;
		in += packed;
		out += plain;
	}
	return 0;
}

static void fill_crc_table(void)
{
	for (u32 byte = 0; byte < 256; byte++) {
		u64 crc = byte;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xC96C5795D7870F42ull : 0);
		crc_table[0][byte] = crc;
	}
	for (int table = 1; table < 8; table++)
		for (u32 byte = 0; byte < 256; byte++)
			crc_table[table][byte] =
				crc_table[table - 1][byte] >> 8 ^ crc_table[0][crc_table[table - 1][byte] & 0xff];
}

/* CRC-64 of ECMA-182, as xz has it. */
__attribute__((export_name("crc64"))) u64 crc64(const u8 *bytes, u32 size)
{
	u64 crc = ~0ull;
	if (crc_table[0][1] == 0)
		fill_crc_table();
	for (; size >= 8; size -= 8, bytes += 8) {
		u64 word;
		__builtin_memcpy(&word, bytes, 8);
		crc ^= word;
		crc = crc_table[7][crc & 0xff] ^ crc_table[6][crc >> 8 & 0xff] ^ crc_table[5][crc >> 16 & 0xff] ^
		      crc_table[4][crc >> 24 & 0xff] ^ crc_table[3][crc >> 32 & 0xff] ^
		      crc_table[2][crc >> 40 & 0xff] ^ crc_table[1][crc >> 48 & 0xff] ^ crc_table[0][crc >> 56];
	}
	for (; size > 0; size--)
		crc = crc >> 8 ^ crc_table[0][(crc ^ *bytes++) & 0xff];
	return ~crc;
}

extern u8 __heap_base;

/* Where input and output may be: everything from here to the end of the memory. */
__attribute__((export_name("heap"))) u32 heap(void)
{
	return (u32)(unsigned long)&__heap_base;
}
