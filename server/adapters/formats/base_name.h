// Compares the names of base models.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_BASE_NAME_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_BASE_NAME_H_

#include <string>
#include <string_view>
#include <vector>

namespace hydrad {

// The letters and digits of the last word of a name or a path, in lower case: "smollm2135minstruct" of
// "HuggingFaceTB/SmolLM2-135M-Instruct", of a directory of that name, and of one in the hub's cache
// ("models--HuggingFaceTB--SmolLM2-135M-Instruct/snapshots/<revision>"). "" of what names no model.
std::string BaseName(std::string_view name_or_path);

// Whether `told`, the base_model_name_or_path of an adapter, has the BaseName of one of `names`. True where
// either tells nothing.
bool IsNameOf(const std::vector<std::string>& names, std::string_view told);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_BASE_NAME_H_
