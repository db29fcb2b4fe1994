// The steps of which decoders are made; see decoder.h for how they are put together.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_DECODE_STEPS_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_DECODE_STEPS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "server/text/tokenizer/decoder.h"
#include "server/text/tokenizer/pattern.h"

namespace hydrad {

// Tokens are bytes written as characters (see utf8.h); the result is one token. A token with any other
// character stands for its own bytes. Bytes that are not UTF-8 in the end become U+FFFD.
std::unique_ptr<const DecoderStep> ByteLevelDecoder();

// A run of tokens <0x..> becomes the text of those bytes, or as many U+FFFD if they are not UTF-8 all
// together; so nothing of a run is certain before it ends. While streaming, a character is handed on with its
// last byte, and only the bytes of the run behind the last whole character become U+FFFD.
std::unique_ptr<const DecoderStep> ByteFallbackDecoder();

// All tokens become one.
std::unique_ptr<const DecoderStep> FuseDecoder();

// Every token loses up to `start` characters `content` at its front and up to `stop` at its end.
std::unique_ptr<const DecoderStep> StripDecoder(std::string content, uint32_t start, uint32_t stop);

// Matches in every token become `content`. An expression needs whole tokens, so behind a Fuse it streams
// nothing.
std::unique_ptr<const DecoderStep> ReplaceDecoder(Pattern pattern, std::string content);

// The character `replacement` becomes a space; in the first token it vanishes if `drop_first`.
std::unique_ptr<const DecoderStep> MetaspaceDecoder(std::string replacement, bool drop_first);

// The tokens become one, with a space between two of them (a file without a decoder).
std::unique_ptr<const DecoderStep> SpaceJoinDecoder();

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_DECODE_STEPS_H_
