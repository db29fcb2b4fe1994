// Writes what libprotobuf complains of to our log.
#ifndef HYDRAD_SERVER_RPC_PROTOBUF_LOG_H_
#define HYDRAD_SERVER_RPC_PROTOBUF_LOG_H_

namespace hydrad {

// From now on libprotobuf's records go to the process's log, at most kProtobufRecordsPerSecond of them:
// strangers can make as many as they like, by text that is not UTF-8. Thread-safe and idempotent.
void LogForProtobuf();
inline constexpr int kProtobufRecordsPerSecond = 2;

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_PROTOBUF_LOG_H_
