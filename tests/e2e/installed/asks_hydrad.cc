// asks_hydrad ADDRESS ADAPTER TEXT: prints what the adapter adds to the text.
#include <chrono>
#include <iostream>

#include "client/error_text.h"
#include "client/hydrad_client.h"

int main(int, char** argv) {
  const hydrad::Client client(argv[1]);
  hydrad::v1::GenerateRequest request;
  request.set_adapter(argv[2]);
  request.set_text(argv[3]);
  request.mutable_stopping()->set_max_tokens(8);
  request.mutable_sampling()->set_temperature(0);
  const absl::Status status = client.Generate(request, {.timeout = std::chrono::minutes(1)},
                                              [](const hydrad::v1::GenerateResponse& response) {
                                                std::cout << response.chunk().text();
                                                return true;
                                              });
  if (!status.ok()) std::cerr << hydrad::Explain(status) << "\n";
  return status.ok() ? 0 : 1;
}
