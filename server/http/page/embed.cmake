# Writes OUTPUT, a C++ source with the bytes of FILES (names in the folder DIRECTORY, separated by commas).
string(REPLACE "," ";" files "${FILES}")
set(arrays "")
set(rows "")
set(number 0)
foreach(name IN LISTS files)
  file(READ "${DIRECTORY}/${name}" bytes HEX)
  file(SHA256 "${DIRECTORY}/${name}" digest)
  string(SUBSTRING "${digest}" 0 16 digest)
  string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${bytes}")
  string(APPEND arrays "constexpr char kBytes${number}[] = {${bytes}};\n")
  string(APPEND rows "    {\"${name}\", \"\\\"${digest}\\\"\", {kBytes${number}, sizeof kBytes${number}}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE "${OUTPUT}" "// Made by embed.cmake.
#include \"server/http/page_files.h\"

namespace hydrad {
namespace {

${arrays}
constexpr PageFile kFiles[] = {
${rows}};

}  // namespace

std::span<const PageFile> PageFiles() { return kFiles; }

}  // namespace hydrad
")
