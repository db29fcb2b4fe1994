#include "client/hydractl/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "client/hydractl/heat_map.h"
#include "server/base/mutex.h"
#include "server/base/unknown_word.h"

namespace hydrad {
namespace {

// An answer on its way: carries its messages from gRPC's threads to the one that prints, and the wish to end
// it back. Thread-safe.
class ComingAnswer {
 public:
  // The call that it comes by.
  void Begun(const GenerateCall& call) {
    {
      MutexLock lock(&mu_);
      call_ = call;
    }
    CancelIfUnwanted();
  }
  // At any time.
  void Cancel() {
    {
      MutexLock lock(&mu_);
      unwanted_ = true;
    }
    CancelIfUnwanted();
  }

  void Add(const v1::GenerateResponse& message) {
    MutexLock lock(&mu_);
    messages_.push_back(message);
  }
  void End(absl::Status status) {
    MutexLock lock(&mu_);
    end_ = std::move(status);
  }
  // The next message; nothing when the stream has ended, with `*end`.
  std::optional<v1::GenerateResponse> Next(absl::Status* end) {
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !messages_.empty() || end_; });
    if (messages_.empty()) {
      *end = *end_;
      return std::nullopt;
    }
    v1::GenerateResponse message = std::move(messages_.front());
    messages_.pop_front();
    return message;
  }

 private:
  void CancelIfUnwanted() {
    std::optional<GenerateCall> call;
    {
      MutexLock lock(&mu_);
      if (unwanted_) call = call_;
    }
    if (call) call->Cancel();  // unlocked: it may end the call at once
  }

  Mutex mu_;
  std::deque<v1::GenerateResponse> messages_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
  std::optional<GenerateCall> call_ ABSL_GUARDED_BY(mu_);
  bool unwanted_ ABSL_GUARDED_BY(mu_) = false;
};

// What stands behind a command's name.
std::string RestOf(const std::string& line) {
  const size_t space = line.find(' ');
  const size_t begin = space == std::string::npos ? space : line.find_first_not_of(' ', space);
  return begin == std::string::npos ? "" : line.substr(begin);
}

}  // namespace

const std::vector<Conversation::Command>& Conversation::Commands() {
  static const std::vector<Command> commands = {
      {"/adapter", "[NAME]  talk with this adapter from now on; without a name: with the base model",
       &Conversation::UseAdapter},
      {"/route", "         how the adapter's routers weighed its experts in the last answer",
       &Conversation::ShowRoute},
      {"/system", "[TEXT]   what the model is told before the conversation; without a text: nothing",
       &Conversation::SetSystem},
      {"/clear", "         forget what was said", &Conversation::Clear},
      {"/help", "          this list", &Conversation::Help},
      {"/quit", "          the end, as is Ctrl-D; Ctrl-C ends an answer", nullptr},
  };
  return commands;
}

Conversation::Conversation(const v1::ChatRequest& request, GenerateFlags& flags, Session& session)
    : flags_(flags), session_(session), client_(session.ToServer()), request_(request), interrupts_([this] {
        session_.err << "\n(/quit or Ctrl-D ends the program)\n> " << std::flush;
      }) {}

void Conversation::Prompt() { session_.err << "> " << std::flush; }

void Conversation::Run() {
  Prompt();
  for (std::string line; std::getline(session_.in, line); Prompt()) {
    if (line.empty()) continue;
    if (line.starts_with("//")) {  // a text that begins with a slash
      Say(line.substr(1));
    } else if (!line.starts_with('/')) {
      Say(line);
    } else if (!RunCommand(line)) {
      return;
    }
    if (!session_.out.good()) return;
  }
  session_.err << '\n';
}

bool Conversation::RunCommand(const std::string& line) {
  const std::string name = line.substr(0, line.find(' '));
  const auto found =
      std::ranges::find_if(Commands(), [&](const Command& command) { return name == command.name; });
  if (found == Commands().end()) {
    std::vector<std::string> names;
    for (const Command& command : Commands()) names.push_back(command.name);
    session_.err << "no command " << name << DidYouMean(name, names) << "; /help lists them\n";
    return true;
  }
  if (found->run == nullptr) return false;
  (this->*found->run)(RestOf(line));
  return true;
}

void Conversation::Say(const std::string& text) {
  v1::ChatMessage& said = *request_.add_messages();
  said.set_role("user");
  said.set_content(text);
  SetFields(flags_, /*json=*/false, &request_);
  request_.mutable_output()->set_routing(true);  // for /route
  v1::GenerateResult result;
  session_.exit_code = 0;
  const absl::Status status = Answer(&result);
  const bool interrupted = absl::IsCancelled(status) && result.choices_size() > 0;
  if (!status.ok() && !interrupted) {
    request_.mutable_messages()->RemoveLast();  // it may be said anew
    return session_.FailNaming(status, session_.server,
                               [&] { return UsableAdapters(session_, flags_.call); });
  }
  v1::ChatMessage& answer = *request_.add_messages();
  answer.set_role("assistant");
  if (result.choices_size() > 0) {
    answer.set_reasoning_content(result.choices(0).reasoning());
    answer.set_content(result.choices(0).text());
  } else {
    answer.set_content("");
  }
  last_ = std::move(result);
}

absl::Status Conversation::Answer(v1::GenerateResult* result) {
  const auto coming = std::make_shared<ComingAnswer>();
  interrupts_.Set([coming] { coming->Cancel(); });
  coming->Begun(client_.StartChat(
      request_, flags_.call.options(),
      {.on_message = [coming](const v1::GenerateResponse& message) { coming->Add(message); },
       .on_done = [coming](absl::Status status) { coming->End(std::move(status)); }}));
  AnswerPrinter printer(/*json=*/false, flags_, session_.out, session_.err);
  absl::Status status;
  while (const auto message = coming->Next(&status)) {
    printer.OnMessage(*message);
    if (!session_.out.good()) coming->Cancel();  // nobody reads
  }
  interrupts_.Reset();
  printer.Finish(status.ok());
  *result = printer.result();
  return status;
}

// A name that the tenant may not use is told at once, where the daemon says which those are.
void Conversation::UseAdapter(const std::string& name) {
  const std::vector<std::string> usable = UsableAdapters(session_, flags_.call);
  if (!name.empty() && !usable.empty() && std::ranges::count(usable, name) == 0) {
    session_.err << "no adapter '" << name << "'" << DidYouMean(name, usable) << '\n';
    return;
  }
  request_.clear_adapters();
  flags_.compose.clear();
  flags_.adapter = name;
  session_.err << (name.empty() ? "the base model" : fmt::format("adapter '{}'", name)) << '\n';
}

void Conversation::ShowRoute(const std::string&) {
  if (last_.routing().empty()) {
    session_.err << "no routers have weighed experts in the last answer\n";
    return;
  }
  for (const v1::Routing& routing : last_.routing()) {
    session_.out << "adapter " << routing.adapter() << ": mean weights over " << routing.tokens()
                 << " tokens\n"
                 << DrawHeatMap(LayerRows(routing)) << std::flush;
  }
}

void Conversation::SetSystem(const std::string& text) {
  auto& messages = *request_.mutable_messages();
  if (!messages.empty() && messages[0].role() == "system") messages.DeleteSubrange(0, 1);
  if (text.empty()) return;
  v1::ChatMessage& system = *messages.Add();
  system.set_role("system");
  system.set_content(text);
  std::rotate(messages.pointer_begin(), messages.pointer_end() - 1, messages.pointer_end());
}

void Conversation::Clear(const std::string&) {
  auto& messages = *request_.mutable_messages();
  const bool system = !messages.empty() && messages[0].role() == "system";
  messages.DeleteSubrange(system ? 1 : 0, messages.size() - (system ? 1 : 0));
  last_.Clear();
}

void Conversation::Help(const std::string&) {
  for (const Command& command : Commands()) session_.err << command.name << ' ' << command.help << '\n';
  session_.err << "A line that begins with // is said with one slash.\n";
}

}  // namespace hydrad
