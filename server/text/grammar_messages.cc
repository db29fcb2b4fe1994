#include "server/text/grammar_messages.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "server/base/invalid_argument.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

void Put(uint32_t value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}
void PutText(std::string_view text, std::string* out) {
  Put(static_cast<uint32_t>(text.size()), out);
  out->append(text);
}

// Reads what Put and PutText wrote; beyond the end everything is 0 and empty, and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}
  uint32_t Get() {
    uint32_t value = 0;
    const std::string_view bytes = Take(sizeof value);
    if (ok_) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  std::string Text() { return std::string(Take(Get())); }
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && left_.empty(); }

 private:
  std::string_view Take(size_t size) {
    ok_ = ok_ && size <= left_.size();
    if (!ok_) return {};
    const std::string_view bytes = left_.substr(0, size);
    left_.remove_prefix(size);
    return bytes;
  }
  std::string_view left_;
  bool ok_ = true;
};

}  // namespace

std::string EncodeForm(const AnswerForm& form) {
  std::string out;
  Put(static_cast<uint32_t>(form.kind), &out);
  PutText(form.text, &out);
  for (const std::string& choice : form.choices) PutText(choice, &out);
  return out;
}

absl::StatusOr<AnswerForm> DecodeForm(std::string_view bytes) {
  Reader in(bytes);
  AnswerForm form;
  form.kind = static_cast<AnswerForm::Kind>(in.Get());
  form.text = in.Text();
  while (in.ok() && !in.at_end()) form.choices.push_back(in.Text());
  if (!in.ok()) return InvalidArgument("this is no form");
  return form;
}

std::string EncodeVocabulary(const Vocabulary& vocabulary) {
  std::string out;
  Put(static_cast<uint32_t>(vocabulary.end_tokens.size()), &out);
  for (const int32_t id : vocabulary.end_tokens) Put(static_cast<uint32_t>(id), &out);
  for (const std::string& token : vocabulary.tokens) PutText(token, &out);
  return out;
}

absl::StatusOr<Vocabulary> DecodeVocabulary(std::string_view bytes) {
  Reader in(bytes);
  Vocabulary vocabulary;
  for (uint32_t count = in.Get(); count > 0 && in.ok(); --count)
    vocabulary.end_tokens.push_back(static_cast<int32_t>(in.Get()));
  while (in.ok() && !in.at_end()) vocabulary.tokens.push_back(in.Text());
  if (!in.ok()) return InvalidArgument("this is no vocabulary");
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 && c != '\n'; };
    if (std::ranges::any_of(vocabulary.tokens[id], control))
      vocabulary.control.push_back(static_cast<int32_t>(id));
  }
  return vocabulary;
}

std::string EncodeReply(const absl::Status& status, std::string_view content) {
  std::string out;
  Put(static_cast<uint32_t>(status.code()), &out);
  out.append(status.ok() ? content : std::string(status.message()).substr(0, 1000));
  return out;
}

absl::StatusOr<std::string> DecodeReply(std::string_view bytes) {
  Reader in(bytes);
  const auto code = static_cast<absl::StatusCode>(in.Get());
  if (!in.ok()) return Internal("an answer is too short");
  std::string content(bytes.substr(sizeof(uint32_t)));
  if (code == absl::StatusCode::kOk) return content;
  return absl::Status(code, content);
}

absl::Status SendPacket(int socket, std::string_view bytes, int descriptor) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (descriptor >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  ssize_t sent;
  do sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent >= 0 ? absl::OkStatus() : Unavailable("a grammar process is gone: {}", std::strerror(errno));
}

std::optional<std::string> ReceivePacket(int socket, FileDescriptor* descriptor) {
  std::string bytes(kMaxPacket, '\0');
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  FileDescriptor came;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); got >= 0 && header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    int fd = -1;
    if (header->cmsg_type == SCM_RIGHTS) std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    came = FileDescriptor(fd);
  }
  if (descriptor != nullptr) *descriptor = std::move(came);
  if (got <= 0) return std::nullopt;  // no packet is empty
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

}  // namespace hydrad
