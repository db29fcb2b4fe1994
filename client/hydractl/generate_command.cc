#include <CLI/CLI.hpp>
#include <memory>

#include "client/hydractl/generate_flags.h"
#include "client/hydractl/session.h"

namespace hydrad {
namespace {

constexpr char kFooter[] =
    "Text is printed as it comes; with --n, each choice when all are done. `-` reads the prompt from "
    "standard\n"
    "input, less one newline at its end. What is not given, --max-tokens apart, takes the server's "
    "default.\n\n"
    "Examples:\n"
    "  hydractl generate 'Once upon a time'\n"
    "  hydractl generate --adapter sql --max-tokens 64 --temperature 0 --stop ';' 'List all users: SELECT'\n"
    "  hydractl generate --compose sql=0.7 --compose poems=0.3 'Select, O muse,'\n"
    "  hydractl generate --adapter domains --adapter-top-k 1 --json --routing 'List all users: SELECT'\n"
    "  hydractl generate --adapter domains --decision vote --json 'Roses are' | jq .route\n"
    "  hydractl generate --parse-special $'<|im_start|>user\\nHello<|im_end|>\\n<|im_start|>assistant\\n'\n"
    "  hydractl generate --json --seed 7 --n 3 'A name for a cat:' | jq -r '.choices[].text'\n"
    "  hydractl generate --choice yes --choice no 'Is the sky blue? Answer yes or no:'\n"
    "  hydractl generate --json-schema person.json 'Ada Lovelace was born in 1815. As JSON:' | jq .name\n"
    "  HYDRAD_TENANT_KEY=$(cat key) hydractl generate - < prompt.txt";

struct PromptFlags : GenerateFlags {
  std::string prompt;
  bool parse_special = false, no_special = false;
};

v1::GenerateRequest RequestOf(const PromptFlags& flags, Session& session) {
  v1::GenerateRequest request;
  request.set_text(session.TextOrStdin(flags.prompt));
  request.set_parse_special(flags.parse_special);
  request.set_no_special(flags.no_special);
  SetFields(flags, session.json, &request);
  return request;
}

// Whether an answer is as a model gives it that waits for a conversation: over as soon as it has begun.
bool EndedAtOnce(const v1::GenerateResult& result) {
  constexpr int kAtOnce = 2;
  for (const v1::Chunk& choice : result.choices()) {
    if (choice.finish_reason() != v1::FINISH_REASON_STOP || !choice.stop().empty()) return false;
  }
  return result.choices_size() > 0 && result.usage().generated_tokens() <= kAtOnce * result.choices_size();
}

// Says so where the model that was asked can be talked with.
void MentionChat(const PromptFlags& flags, Session& session) {
  const auto models = Client(session.ToServer()).ListModels(flags.call.options());
  if (!models.ok()) return;
  for (const auto& model : models->models()) {
    if (model.name() != flags.adapter || !model.chat()) continue;
    session.err << "hydractl: the answer ended at once. The model was trained on conversations: try "
                   "`hydractl chat`.\n";
  }
}

void RunGenerate(const PromptFlags& flags, Session& session) {
  session.json |= flags.json_stream;
  if (!session.json && (flags.logprobs || flags.routing)) {
    return session.FailUsage("--logprobs and --routing are told in JSON: add --json or --json-stream");
  }
  const Client client(session.ToServer());
  AnswerPrinter printer(session.json, flags, session.out, session.err);
  const v1::GenerateRequest request = RequestOf(flags, session);
  const absl::Status status =
      client.Generate(request, flags.call.options(), [&](const v1::GenerateResponse& message) {
        printer.OnMessage(message);
        // Nobody reads: the server need not go on.
        return session.out.good();
      });
  printer.Finish(status.ok());
  if (!status.ok()) {
    return session.FailNaming(status, session.server, [&] { return UsableAdapters(session, flags.call); });
  }
  const bool own_length = !request.has_form();  // a form may be met at once
  if (own_length && !session.json && EndedAtOnce(printer.result())) MentionChat(flags, session);
}

}  // namespace

void AddGenerateCommand(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("generate", "Continue a prompt with the base model or an adapter");
  const auto flags = std::make_shared<PromptFlags>();
  command->add_option("PROMPT", flags->prompt, "The prompt, or - for standard input")->required();
  AddGenerateFlags(*command, *flags, session);
  command->add_flag("--parse-special", flags->parse_special,
                    "Special tokens written in the prompt, such as <|im_start|>, count as such");
  command->add_flag("--no-special", flags->no_special, "Do not add the tokenizer's special tokens (BOS)");
  command->footer(kFooter);
  command->callback([flags, &session] { RunGenerate(*flags, session); });
}

}  // namespace hydrad
