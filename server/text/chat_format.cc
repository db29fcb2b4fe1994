#include "server/text/chat_format.h"

#include <utility>

#include "server/base/reason.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

absl::Status NoTemplate(absl::Status why) { return Because(std::move(why), "NO_CHAT_TEMPLATE"); }

}  // namespace

ChatFormat::ChatFormat(absl::StatusOr<ChatFiles> files) : files_(std::move(files)) {
  if (!files_.ok()) return;
  for (const auto& [name, source] : files_->templates) templates_.emplace(name, ChatTemplate::Parse(source));
}

ChatFormat::Templates::const_iterator ChatFormat::Find(bool tools) const {
  const auto found = tools ? templates_.find("tool_use") : templates_.end();
  return found != templates_.end() ? found : templates_.find("default");
}

std::string_view ChatFormat::source(bool tools) const {
  const auto found = Find(tools);
  return found == templates_.end() ? "" : std::string_view(files_->templates.at(found->first));
}

absl::StatusOr<ChatTemplate> ChatFormat::Choose(bool tools) const {
  if (!files_.ok()) {
    return NoTemplate(FailedPrecondition("has a chat template that cannot be read: {}",
                                         std::string(files_.status().message())));
  }
  if (templates_.empty()) return NoTemplate(FailedPrecondition("has no chat template"));
  const auto found = Find(tools);
  if (found == templates_.end()) {
    return NoTemplate(FailedPrecondition("has no chat template of the name 'default', only '{}'",
                                         templates_.begin()->first));
  }
  if (found->second.ok()) return *found->second;
  return NoTemplate(FailedPrecondition("has a chat template ('{}') that cannot be used: {}", found->first,
                                       std::string(found->second.status().message())));
}

absl::StatusOr<ChatTemplate::Rendered> ChatFormat::Render(Json context,
                                                          std::chrono::system_clock::time_point now,
                                                          const ChatTemplateLimits& limits) const {
  const Json& tools = Field(context, "tools");
  ASSIGN_OR_RETURN(const ChatTemplate chosen, Choose(!tools.is_null()));
  for (const auto& [name, text] : files_->tokens) context[name] = text;
  return chosen.Render(context, now, limits);
}

std::string ChatFormat::eos_token() const {
  if (!files_.ok()) return "";
  const auto found = files_->tokens.find("eos_token");
  return found == files_->tokens.end() ? "" : found->second;
}

}  // namespace hydrad
