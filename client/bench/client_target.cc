#include "client/bench/client_target.h"

#include <utility>

namespace hydrad {

ClientTarget::ClientTarget(const std::string& address, const Options& options) : options_(options) {
  for (int i = 0; i < options.connections; ++i) clients_.push_back(std::make_unique<Client>(address));
}

void ClientTarget::Start(const BenchRequest& request, Events events) {
  v1::GenerateRequest message;
  message.set_text(request.prompt);
  message.set_adapter(request.adapter);
  message.mutable_sampling()->set_temperature(options_.temperature);
  message.mutable_sampling()->set_seed(request.seed);
  if (request.max_tokens > 0) message.mutable_stopping()->set_max_tokens(request.max_tokens);
  message.mutable_stopping()->set_ignore_eos(options_.ignore_eos);
  message.mutable_output()->set_token_ids(true);  // to count what one message brings

  const auto usage = std::make_shared<v1::Usage>();
  Client::Events stream;
  stream.on_message = [usage, on_tokens = std::move(events.on_tokens)](const v1::GenerateResponse& response) {
    if (response.has_chunk()) on_tokens(response.chunk().choice(), response.chunk().token_ids_size());
    if (response.has_end()) *usage = response.end().usage();
  };
  stream.on_done = [usage, on_done = std::move(events.on_done)](const absl::Status& status) {
    on_done(status.code(), usage->prompt_tokens(), usage->generated_tokens());
  };
  clients_[turn_++ % clients_.size()]->StartGenerate(message, options_.call, std::move(stream));
}

}  // namespace hydrad
