// What an adapter's directory says about chat.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_CHAT_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_CHAT_H_

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "server/adapters/formats/disk.h"
#include "server/text/chat_format.h"

namespace hydrad {

// Reads tokenizer_config.json and chat_template.jinja of the directory `path`, as far as they are there. Null
// where they hold no template, or write conversations as `base` does; tokens that they do not tell are those
// of `base`, which may be null.
//
// An adapter whose template is broken serves what is asked without one. So what is wrong with the files'
// content is told by the format's status; the errors are the disk's, as ReadAdapter's. The files are not
// part of the adapter's digest, which many tools leave them out of.
absl::StatusOr<std::shared_ptr<const ChatFormat>> ReadAdapterChat(Disk& disk, const std::string& path,
                                                                  const ChatFormat* base);

// A format of these files that stands beside `base`, by the same rules.
std::shared_ptr<const ChatFormat> ChatBeside(absl::StatusOr<ChatFiles> files, const ChatFormat* base);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_ADAPTER_CHAT_H_
