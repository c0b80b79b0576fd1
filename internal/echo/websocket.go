// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"bufio"
	"context"
	"crypto/sha1" // RFC 6455 asks for it, and nothing rests on it.
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxFrame bounds the frames that are sent back, in bytes.
const maxFrame = 1 << 20

// The opcodes of RFC 6455 §5.2 that are not for data.
const (
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
)

// wantsWebSocket tells whether a request asks for a WebSocket over HTTP/1.1, RFC 6455 §4.1.
func wantsWebSocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		r.Header.Get("Sec-WebSocket-Key") != ""
}

// serveWebSocket grants the upgrade and sends back each data frame, until the client closes.
func serveWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	defer conn.Close()
	// Reading does not look at the context.
	defer context.AfterFunc(r.Context(), func() { _ = conn.Close() })()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"X-Echo-Name: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n", w.Header().Get("X-Echo-Name"), base64.StdEncoding.EncodeToString(sum[:]))
	for rw.Flush() == nil {
		head, payload, err := readFrame(rw.Reader)
		if err != nil {
			return
		}
		switch head & 0xf {
		case opPong:
			continue
		case opPing:
			head = head&0xf0 | opPong
		}
		writeFrame(rw.Writer, head, payload)
		if head&0xf == opClose {
			_ = rw.Flush() // It is over either way.
			return
		}
	}
}

// readFrame reads one frame, RFC 6455 §5.2, and returns its first byte and its payload without the mask.
func readFrame(r *bufio.Reader) (head byte, payload []byte, err error) {
	var b [8]byte
	if _, err = io.ReadFull(r, b[:2]); err != nil {
		return 0, nil, err
	}
	head, masked, size := b[0], b[1]&0x80 != 0, uint64(b[1]&0x7f)
	switch size {
	case 126:
		_, err = io.ReadFull(r, b[:2])
		size = uint64(binary.BigEndian.Uint16(b[:2]))
	case 127:
		_, err = io.ReadFull(r, b[:8])
		size = binary.BigEndian.Uint64(b[:8])
	}
	switch {
	case err != nil:
		return 0, nil, err
	case !masked:
		return 0, nil, errors.New("a frame of a client is not masked")
	case size > maxFrame:
		return 0, nil, fmt.Errorf("a frame of %d bytes, at most %d", size, maxFrame)
	}
	var mask [4]byte
	if _, err = io.ReadFull(r, mask[:]); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, size)
	if _, err = io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head, payload, nil
}

// writeFrame writes one frame, as a server does: without a mask. An error shows at the next Flush.
func writeFrame(w *bufio.Writer, head byte, payload []byte) {
	_ = w.WriteByte(head)
	switch n := len(payload); {
	case n < 126:
		_ = w.WriteByte(byte(n))
	case n < 1<<16:
		_, _ = w.Write(binary.BigEndian.AppendUint16([]byte{126}, uint16(n)))
	default:
		_, _ = w.Write(binary.BigEndian.AppendUint64([]byte{127}, uint64(n)))
	}
	_, _ = w.Write(payload)
}
