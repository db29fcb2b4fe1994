// What the daemon and its grammar processes say to each other: packets over SOCK_SEQPACKET sockets of one
// machine, numbers as it has them.
//
//   daemon -> main process    a form, with the socket of its process to be
//   its process -> daemon     that it is there, and then whether the form was compiled
//   daemon -> its process     "start", with the socket of an answer
//   its process -> daemon     on that socket: a mask
//   daemon -> its process     on that socket: the token that came next, for which there is another mask
#ifndef HYDRAD_SERVER_TEXT_GRAMMAR_MESSAGES_H_
#define HYDRAD_SERVER_TEXT_GRAMMAR_MESSAGES_H_

#include <absl/status/status.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/base/file_descriptor.h"
#include "server/text/answer_form.h"
#include "server/text/grammar.h"

namespace hydrad {

// A packet holds any form.
inline constexpr size_t kMaxPacket = kMaxFormBytes + (8 << 10);

std::string EncodeForm(const AnswerForm& form);
// INVALID_ARGUMENT for what EncodeForm has not made.
absl::StatusOr<AnswerForm> DecodeForm(std::string_view bytes);

std::string EncodeVocabulary(const Vocabulary& vocabulary);
absl::StatusOr<Vocabulary> DecodeVocabulary(std::string_view bytes);

// An answer: the status, and what comes with an OK.
std::string EncodeReply(const absl::Status& status, std::string_view content = {});
absl::StatusOr<std::string> DecodeReply(std::string_view bytes);

// Sends a packet, and a descriptor with it unless that is -1. UNAVAILABLE when there is nobody to hear it.
absl::Status SendPacket(int socket, std::string_view bytes, int descriptor = -1);
// Waits for a packet; nullopt when the other side is gone. A descriptor that came with it goes to
// `descriptor`, and is closed where that is null.
std::optional<std::string> ReceivePacket(int socket, FileDescriptor* descriptor = nullptr);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_GRAMMAR_MESSAGES_H_
