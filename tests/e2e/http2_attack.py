"""What a stranger who means ill sends over TLS: HTTP/2 of our own making, because no client library sends such things."""
import socket
import ssl
import struct

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
DATA, HEADERS, RST_STREAM, SETTINGS, CONTINUATION = 0, 1, 3, 4, 9
END_STREAM, END_HEADERS = 1, 4
CANCEL = 8


def frame(kind, flags, stream, payload):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload


def literal(name, value):
    """One header field of HPACK: a literal that is neither indexed nor Huffman-coded, below 127 bytes each."""
    return b'\x00' + bytes([len(name)]) + name + bytes([len(value)]) + value


def call_head(path, **more):
    fields = {':method': 'POST', ':scheme': 'https', ':path': path, ':authority': 'edge',
              'content-type': 'application/grpc', 'te': 'trailers', **more}
    return b''.join(literal(name.encode(), value.encode()) for name, value in fields.items())


class Stranger:
    """One connection, as a context. Methods answer False once the other side has closed it."""

    def __init__(self, port, certificate):
        context = ssl.create_default_context(cafile=certificate)
        context.set_alpn_protocols(['h2'])
        self.socket = context.wrap_socket(socket.create_connection(('127.0.0.1', port)), server_hostname='127.0.0.1')
        assert self.socket.selected_alpn_protocol() == 'h2'
        self.send(PREFACE + frame(SETTINGS, 0, 0, b''))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()

    def send(self, data):
        """Also reads what has come, so that the other side's full buffer is not what ends this."""
        try:
            self.socket.settimeout(60)
            self.socket.sendall(data)
        except OSError:  # broken pipe, reset, end of TLS
            return False
        return self.read_for(0)

    def read_for(self, seconds):
        """Reads until the other side closes or is silent for so long."""
        try:
            self.socket.settimeout(seconds)
            while self.socket.recv(65536):
                pass
            return False
        except (ssl.SSLWantReadError, BlockingIOError, TimeoutError):
            return True
        except OSError:
            return False


def endless_header(port, certificate, most):
    """Sends `most` bytes of one header, if it may, and waits for more. Answers whether it was cut."""
    block = literal(b'x-endless', b'a' * 120) * 100
    with Stranger(port, certificate) as stranger:
        alive = stranger.send(frame(HEADERS, 0, 1, call_head('/hydrad.v1.Inference/Generate')))
        sent = 0
        while alive and sent < most:
            alive = stranger.send(frame(CONTINUATION, 0, 1, block))
            sent += len(block)
        return not (alive and stranger.read_for(60))


def rapid_reset(port, certificate, message, most, **head):
    """Opens `most` streams, if it may, with a whole call in each, and resets them at once. Answers whether it was cut."""
    block = call_head('/hydrad.v1.Inference/Generate', **head)
    body = b'\x00' + struct.pack('>I', len(message)) + message
    with Stranger(port, certificate) as stranger:
        alive = True
        stream = 1
        while alive and stream < 2 * most:
            burst = b''
            for _ in range(10):
                burst += (frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body) +
                          frame(RST_STREAM, 0, stream, struct.pack('>I', CANCEL)))
                stream += 2
            alive = stranger.send(burst)
        return not (alive and stranger.read_for(60))
