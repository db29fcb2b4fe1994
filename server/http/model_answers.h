// GET /v1/models.
#ifndef HYDRAD_SERVER_HTTP_MODEL_ANSWERS_H_
#define HYDRAD_SERVER_HTTP_MODEL_ANSWERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/base/json.h"
#include "server/front/answers.h"

namespace hydrad {

// One entry of the listing. The base model is its own root and nobody's child; every adapter is the child of
// the base. What only hydrad has stands in "hydrad". It was created when it was loaded, and the base model
// when the daemon `started`, in seconds since 1970.
Json ModelObject(const ServedModel& model, const std::string& base_model, int64_t started);
Json ModelList(const std::vector<ServedModel>& models, const std::string& base_model, int64_t started);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_MODEL_ANSWERS_H_
