// Calls that are answered at once, without the scheduler.
#ifndef HYDRAD_SERVER_FRONT_ANSWERS_H_
#define HYDRAD_SERVER_FRONT_ANSWERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/adapters/info.h"
#include "server/front/generate_call.h"
#include "server/front/rooms.h"

namespace hydrad {

struct Tokenized {
  std::vector<int32_t> ids;
  std::vector<std::string> tokens;  // [ids] the text of each, U+FFFD for bytes that are not UTF-8 alone
};
// INVALID_FIELD, and of an adapter that the tenant may not use or that is not loaded ADAPTER_NOT_ALLOWED and
// ADAPTER_NOT_FOUND; so does the next.
absl::StatusOr<Tokenized> Tokenize(const Rooms& rooms, const std::string& tenant, const TokenizeCall& call);
absl::StatusOr<std::string> Detokenize(const Rooms& rooms, const std::string& tenant,
                                       const DetokenizeCall& call);

struct ServedModel {
  std::string name;  // "": the base model
  uint64_t generation = 0;
  int64_t loaded = 0;  // AdapterInfo's
  bool chat = false;   // conversations with it can be written
  // As AdapterInfo's.
  std::string family{};
  int experts = 1;
  std::vector<std::string> expert_names{};
  Tier tier = Tier::kDevice;  // where its weights are
  int added_tokens = 0;       // that it brings
};
// What the tenant may use now, the base model first.
std::vector<ServedModel> ModelsFor(const Rooms& rooms, const std::string& tenant);
// What anybody may use now, so too.
std::vector<ServedModel> EveryModel(const Rooms& rooms);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_ANSWERS_H_
