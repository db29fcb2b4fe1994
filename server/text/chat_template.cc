#include "server/text/chat_template.h"

#include <utility>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/jinja/context_values.h"
#include "server/text/jinja/evaluator.h"
#include "server/text/jinja/template_parser.h"

namespace hydrad {

class ChatTemplate::Impl {
 public:
  explicit Impl(jinja::Template source) : source(std::move(source)) {}

  const jinja::Template source;
};

ChatTemplate::ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(std::string_view source) {
  ASSIGN_OR_RETURN(jinja::Template parsed, jinja::ParseTemplate(source));
  return ChatTemplate(std::make_shared<const Impl>(std::move(parsed)));
}

absl::StatusOr<ChatTemplate::Rendered> ChatTemplate::Render(const Json& context,
                                                            std::chrono::system_clock::time_point now,
                                                            const ChatTemplateLimits& limits) const {
  jinja::Runtime runtime{jinja::Heap(limits), now};
  jinja::Scope root(nullptr);
  RETURN_IF_ERROR(jinja::FillContext(&runtime, context, impl_->source.symbols, &root));
  jinja::TextBuilder out(limits.output_bytes);
  jinja::Evaluator evaluator(impl_->source, &runtime, &out);
  const absl::Status status = evaluator.Run(&root);
  // Marks of the interpreter do not leave it.
  if (!status.ok()) return InvalidArgument("{}", std::string(status.message()));
  jinja::Text text = out.Take();
  return Rendered{std::move(text.bytes), std::move(text.data)};
}

}  // namespace hydrad
