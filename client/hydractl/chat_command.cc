#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "client/hydractl/conversation.h"
#include "client/hydractl/generate_flags.h"
#include "client/hydractl/session.h"

namespace hydrad {
namespace {

constexpr char kFooter[] =
    "Without a MESSAGE it reads one from each line, keeps what was said, and /help lists its commands "
    "(/adapter,\n"
    "/system, /route, /clear, /quit); Ctrl-C ends an answer, Ctrl-D the program. `-` reads one message from "
    "standard\n"
    "input, less one newline at its end.\n\n"
    "Examples:\n"
    "  hydractl chat\n"
    "  hydractl chat 'What is gravity?'\n"
    "  hydractl chat --system 'You are a pirate.' --adapter pirate --temperature 0 'How is the weather?'\n"
    "  hydractl chat --template-arguments '{\"enable_thinking\": false}' 'What is gravity?'\n"
    "  hydractl chat --json --seed 7 --n 3 'A name for a cat?' | jq -r '.choices[].text'\n"
    "  HYDRAD_TENANT_KEY=$(cat key) hydractl chat - < message.txt";

struct ChatFlags : GenerateFlags {
  std::optional<std::string> message, system;
  std::string template_arguments;
};

v1::ChatRequest RequestOf(const ChatFlags& flags) {
  v1::ChatRequest request;
  if (flags.system) {
    v1::ChatMessage& system = *request.add_messages();
    system.set_role("system");
    system.set_content(*flags.system);
  }
  request.set_template_arguments(flags.template_arguments);
  return request;
}

// One message, one answer.
void RunOnce(const ChatFlags& flags, Session& session) {
  v1::ChatRequest request = RequestOf(flags);
  v1::ChatMessage& said = *request.add_messages();
  said.set_role("user");
  said.set_content(session.TextOrStdin(*flags.message));
  SetFields(flags, session.json, &request);
  AnswerPrinter printer(session.json, flags, session.out, session.err);
  const absl::Status status =
      Client(session.ToServer())
          .Chat(request, flags.call.options(), [&](const v1::GenerateResponse& message) {
            printer.OnMessage(message);
            return session.out.good();  // nobody reads: the server need not go on
          });
  printer.Finish(status.ok());
  if (status.ok()) return;
  session.FailNaming(status, session.server, [&] { return UsableAdapters(session, flags.call); });
}

void RunChat(ChatFlags& flags, Session& session) {
  session.json |= flags.json_stream;
  if (!session.json && (flags.logprobs || flags.routing)) {
    return session.FailUsage("--logprobs and --routing are told in JSON: add --json or --json-stream");
  }
  if (flags.message) return RunOnce(flags, session);
  if (session.json || flags.n.value_or(1) > 1) {
    return session.FailUsage("--json, --json-stream and --n are for one answer: add a MESSAGE");
  }
  Conversation(RequestOf(flags), flags, session).Run();
}

}  // namespace

void AddChatCommand(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("chat", "Talk with the base model or an adapter");
  const auto flags = std::make_shared<ChatFlags>();
  command->add_option("MESSAGE", flags->message,
                      "One message, or - for standard input; none: a conversation");
  command->add_option("--system", flags->system, "What the model is told before the conversation")
      ->type_name("TEXT");
  command
      ->add_option("--template-arguments", flags->template_arguments,
                   "A JSON object: variables of the chat template, such as {\"enable_thinking\": false}")
      ->type_name("JSON");
  AddGenerateFlags(*command, *flags, session);
  command->footer(kFooter);
  command->callback([flags, &session] { RunChat(*flags, session); });
}

}  // namespace hydrad
