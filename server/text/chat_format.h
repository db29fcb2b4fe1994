// How one model, or one adapter, writes conversations.
#ifndef HYDRAD_SERVER_TEXT_CHAT_FORMAT_H_
#define HYDRAD_SERVER_TEXT_CHAT_FORMAT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <map>
#include <string>
#include <string_view>

#include "server/base/json.h"
#include "server/text/chat_template.h"

namespace hydrad {

// The templates of a directory, parsed, and the tokens that they ask for. What is wrong with them keeps
// nobody from having this: it is told by whoever wants to render. Immutable; any thread may use it.
class ChatFormat {
 public:
  // Of what the directory says, or of why that cannot be read.
  explicit ChatFormat(absl::StatusOr<ChatFiles> files);

  // What it was made of.
  const absl::StatusOr<ChatFiles>& files() const { return files_; }
  // The directory has no template, and nothing is wrong with it.
  bool empty() const { return files_.ok() && templates_.empty(); }
  // OK; or FAILED_PRECONDITION with reason NO_CHAT_TEMPLATE and a text that goes on behind a name ("has no
  // chat template").
  absl::Status status() const { return Choose(/*tools=*/false).status(); }
  // The source of the template for conversations with tools, or without; "" where there is none.
  std::string_view source(bool tools) const;

  // Renders with the template for such a conversation: "tool_use" where `context` has tools and there is such
  // a one, else "default". The tokens are added to `context`; the rest is as ChatTemplate::Render's. Errors:
  // status()'s, and Render's.
  absl::StatusOr<ChatTemplate::Rendered> Render(Json context, std::chrono::system_clock::time_point now,
                                                const ChatTemplateLimits& limits) const;

  // The text of the token that ends an answer; "" if it is not known.
  std::string eos_token() const;

 private:
  using Templates = std::map<std::string, absl::StatusOr<ChatTemplate>>;  // by name

  Templates::const_iterator Find(bool tools) const;
  absl::StatusOr<ChatTemplate> Choose(bool tools) const;

  absl::StatusOr<ChatFiles> files_;
  Templates templates_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_CHAT_FORMAT_H_
