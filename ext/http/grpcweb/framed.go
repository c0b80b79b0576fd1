// SPDX-License-Identifier: Apache-2.0

package grpcweb

import (
	"encoding/base64"
	"io"

	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/grpcstat"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// framed is a response's body with its trailers as its last frame, and in
// base64 if it is text. Each message is encoded by itself, so that a client can
// read it before the next has come.
type framed struct {
	body    stream.Body
	trailer *header.Map
	text    bool
	method  *grpcstat.Method
	track   grpcframe.Tracker
	part    []byte // bytes of a message that do not fill a group of base64
	out     []byte
	err     error // what comes behind what was returned
}

// Next returns the next bytes.
func (f *framed) Next() ([]byte, error) {
	f.out = f.out[:0]
	for f.err == nil {
		p, err := f.body.Next()
		if err != nil && err != io.EOF {
			f.err = err
			break
		}
		if !f.text && err == nil {
			return p, nil
		}
		f.add(p)
		if err == io.EOF {
			f.finish()
			f.err = io.EOF
		}
		if len(f.out) > 0 {
			break
		}
	}
	if f.err != nil && f.err != io.EOF {
		return nil, f.err
	}
	return f.out, f.err
}

func (f *framed) add(p []byte) {
	if !f.text {
		f.out = append(f.out, p...)
		return
	}
	for len(p) > 0 {
		n, complete := f.track.Advance(p)
		f.encode(p[:n], complete)
		p = p[n:]
	}
}

// encode appends base64 of p; what does not fill a group waits for more, or is
// padded at the end of a message.
func (f *framed) encode(p []byte, end bool) {
	const group = 3
	if k := len(f.part); k > 0 && k+len(p) >= group {
		n := group - k
		f.part = append(f.part, p[:n]...)
		f.out = base64.StdEncoding.AppendEncode(f.out, f.part)
		f.part, p = f.part[:0], p[n:]
	}
	if len(f.part) == 0 {
		n := len(p) / group * group
		f.out = base64.StdEncoding.AppendEncode(f.out, p[:n])
		p = p[n:]
	}
	f.part = append(f.part, p...)
	if end {
		f.out = base64.StdEncoding.AppendEncode(f.out, f.part)
		f.part = f.part[:0]
	}
}

// finish appends the trailers.
func (f *framed) finish() {
	f.encode(nil, true) // Of a message that was cut short.
	if f.trailer == nil || f.trailer.Len() == 0 {
		return
	}
	f.method.Status(f.trailer.Get(header.GRPCStatus))
	at := len(f.out)
	frame := f.out
	if f.text {
		at, frame = 0, nil
	}
	frame = append(frame, make([]byte, grpcframe.HeadSize)...)
	for n, v := range f.trailer.All() {
		frame = append(frame, n.String()...)
		frame = append(frame, ':')
		frame = append(frame, v...)
		frame = append(frame, "\r\n"...)
	}
	grpcframe.Seal(frame, at, grpcframe.Trailer)
	if f.text {
		f.out = base64.StdEncoding.AppendEncode(f.out, frame)
	} else {
		f.out = frame
	}
}

// Ready reports whether Next would return without waiting.
func (f *framed) Ready() bool { return f.err != nil || f.body.Ready() }
