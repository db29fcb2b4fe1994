#include "core/module.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/simulated_memory.h"

namespace ptxsim {

uint64_t ParseNumber(std::string_view text) {
  bool bits = text.size() > 2 && text[0] == '0' && std::strchr("fFdD", text[1]) != nullptr;
  std::string digits(bits ? text.substr(2) : text);
  return std::strtoull(digits.c_str(), nullptr, bits ? 16 : 0);
}

Module::Module(std::string text) : text_(std::move(text)), tokens_(Lex(text_)) {
  tokens_.push_back({"", tokens_.empty() ? 0 : tokens_.back().line});
  Outline();
}

Module::~Module() {
  for (auto& [name, variable] : variables_) DeviceMemory::Get().Free(variable.address);
}

void Module::Outline() {
  for (size_t i = 0; i + 1 < tokens_.size();) {
    std::string_view t = tokens_[i].text;
    if (t == ".entry" || t == ".func") {
      i = AddFunction(i + 1, t == ".entry");
    } else if (t == ".global" || t == ".const") {
      i = AddVariable(i + 1, t == ".global" ? Space::kGlobal : Space::kConst);
    } else if (t == ".shared") {
      i = AddVariable(i + 1, Space::kShared);
    } else if (t == ".file") {
      i = AddFile(i + 1);
    } else if (t == ".section") {
      while (tokens_[i].text != "}" && i + 1 < tokens_.size()) ++i;
      ++i;
    } else if (t == ".extern" && tokens_[i + 1].text == ".func") {
      i = SkipStatement(i);
    } else {
      ++i;  // .version 9.0, .target sm_80, .visible, .weak, ...
    }
  }
}

size_t Module::SkipStatement(size_t i) const {
  while (i + 1 < tokens_.size() && tokens_[i].text != ";") ++i;
  return i + 1;
}

// From a function's name to behind its body (or the semicolon of its declaration).
size_t Module::SkipFunction(size_t i) const {
  while (i + 1 < tokens_.size() && tokens_[i].text != "{" && tokens_[i].text != ";") ++i;
  if (tokens_[i].text == ";") return i + 1;
  int depth = 0;
  do {
    if (tokens_[i].text == "{") ++depth;
    if (tokens_[i].text == "}") --depth;
    ++i;
  } while (depth > 0 && i + 1 < tokens_.size());
  return i;
}

size_t Module::AddFunction(size_t i, bool entry) {
  size_t start = i;
  if (tokens_[i].text == "(") {  // .func (.param .b32 result) name(...)
    while (tokens_[i].text != ")") ++i;
    ++i;
  }
  size_t end = SkipFunction(i);
  if (tokens_[end - 1].text == "}") functions_[tokens_[i].text] = {start, entry};
  return end;
}

size_t Module::AddFile(size_t i) {
  std::string_view name = tokens_[i + 1].text;
  files_[static_cast<int>(ParseNumber(tokens_[i].text))] = std::string(name.substr(1, name.size() - 2));
  return i + 2;
}

size_t Module::AddVariable(size_t i, Space space) {
  size_t align = 1, elements = 1;
  Type type = Type::kNone;
  for (; tokens_[i].text[0] == '.'; ++i) {
    if (tokens_[i].text == ".align")
      align = ParseNumber(tokens_[++i].text);
    else if (Type t = ParseType(tokens_[i].text.substr(1)); t != Type::kNone)
      type = t;
  }
  std::string_view name = tokens_[i++].text;
  while (tokens_[i].text == "[") {
    elements *= tokens_[i + 1].text == "]" ? 0 : ParseNumber(tokens_[i + 1].text);
    i += tokens_[i + 1].text == "]" ? 2 : 3;
  }
  if (space == Space::kShared) {
    if (elements != 0) throw PtxError(tokens_[i].line, "static .shared variable outside of a function");
    extern_shared_.push_back(name);
    return SkipStatement(i);
  }
  size_t width = SizeOf(type), bytes = elements * width;
  void* address = DeviceMemory::Get().Allocate(std::max(bytes, align), MemoryKind::kModule);
  if (address == nullptr) throw PtxError(tokens_[i].line, "no device memory for a variable");
  std::memset(address, 0, bytes);
  DeviceMemory::Get().MarkWritten(address, bytes);
  variables_[name] = {address, bytes, space};
  size_t at = 0;
  for (; tokens_[i].text != ";"; ++i) {  // = 3; = {1, 2, -3};
    std::string_view t = tokens_[i].text;
    if (t == "=" || t == "{" || t == "}" || t == "," || t == "-") continue;
    if (!std::isdigit(static_cast<unsigned char>(t[0])))
      throw PtxError(tokens_[i].line, "initialiser with an address");
    uint64_t value = ParseNumber(t);
    if (tokens_[i - 1].text == "-") value = 0 - value;
    if (at + width <= bytes) std::memcpy(static_cast<char*>(address) + at, &value, width);
    at += width;
  }
  return i + 1;
}

const Kernel* Module::FindKernel(const std::string& name) {
  auto& kernel = kernels_[name];
  const Function* function = FindFunction(name);
  if (kernel == nullptr && function != nullptr && function->entry) {
    kernel = BuildKernel(*this, name);
    char* demangled = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, nullptr);
    kernel->demangled = demangled != nullptr ? demangled : name;
    std::free(demangled);
  }
  return kernel.get();
}

std::vector<std::string> Module::KernelNames() const {
  std::vector<std::string> names;
  for (const auto& [name, function] : functions_) {
    if (function.entry) names.emplace_back(name);
  }
  return names;
}

const Module::Variable* Module::FindVariable(std::string_view name) const {
  auto it = variables_.find(name);
  return it == variables_.end() ? nullptr : &it->second;
}

const Module::Function* Module::FindFunction(std::string_view name) const {
  auto it = functions_.find(name);
  return it == functions_.end() ? nullptr : &it->second;
}

bool Module::IsExternShared(std::string_view name) const {
  return std::find(extern_shared_.begin(), extern_shared_.end(), name) != extern_shared_.end();
}

const std::string& Module::FileName(int index) const {
  static const std::string none;
  auto it = files_.find(index);
  return it == files_.end() ? none : it->second;
}

}  // namespace ptxsim
