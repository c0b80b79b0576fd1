// SPDX-License-Identifier: Apache-2.0

package call

import (
	"errors"
	"fmt"
	"net/http"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stream"
)

// Codes of gRPC that a call here may end with.
const (
	codeUnknown          = 2
	codeDeadlineExceeded = 4
	codeExhausted        = 8
	codeInternal         = 13
	codeUnavailable      = 14
)

// A StatusError is a gRPC call that the service answered with an error.
type StatusError struct {
	Code    int // of gRPC; never 0
	Message string
}

// Error returns the code and the message.
func (e *StatusError) Error() string { return fmt.Sprintf("gRPC status %d: %s", e.Code, e.Message) }

// Code returns the gRPC code that an error of Unary stands for: the service's, or else
// what a client of gRPC would be told.
func Code(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*StatusError](err); ok {
		return e.Code
	}
	switch {
	case errors.Is(err, ErrTimeout):
		return codeDeadlineExceeded
	case errors.Is(err, ErrTooLarge):
		return codeExhausted
	}
	return codeUnavailable
}

var (
	te         = header.NewName("te")
	framesHead [grpcframe.HeadSize]byte
)

// BeginUnary readies a gRPC call of one message each way, to a method such as
// "/package.Service/Method". The message is to be appended to Body.
func (c *Client) BeginUnary(method string) *Call {
	k := c.beginGRPC(method)
	k.Body = append(k.room[:0], framesHead[:]...)
	return k
}

func (c *Client) beginGRPC(method string) *Call {
	k := c.begin(http.MethodPost)
	k.Request.Add(header.Path, method)
	k.finish()
	k.Request.Add(te, "trailers")
	k.Request.Add(header.ContentType, "application/grpc")
	return k
}

// Unary makes the call as [Call.Do] does and returns the message of the answer, which is
// valid until End.
func (k *Call) Unary(t *engine.Task) ([]byte, error) {
	k.seal()
	if err := k.Do(t); err != nil {
		return nil, err
	}
	return k.message()
}

// seal ends the head and the message of a gRPC call.
func (k *Call) seal() {
	grpcframe.Seal(k.Body, 0, 0)
	if k.Timeout > 0 {
		var room [16]byte
		k.Request.SetBytes(header.GRPCTimeout, stream.AppendGRPCTimeout(room[:0], k.Timeout))
	}
	k.Limit += grpcframe.HeadSize
}

// message takes the one message out of a response.
func (k *Call) message() ([]byte, error) {
	if k.Status != http.StatusOK {
		return nil, &StatusError{stream.GRPCFromHTTP(k.Status), fmt.Sprintf("the service answered with HTTP status %d", k.Status)}
	}
	if err := k.outcome(); err != nil {
		return nil, err
	}
	if k.Silent && len(k.Content) == 0 {
		return nil, nil
	}
	d := grpcframe.Decoder{Max: k.Limit}
	f, n, ok, err := d.Next(k.Content)
	switch {
	case err != nil || !ok:
		return nil, &StatusError{codeInternal, "the answer has no whole message"}
	case n != len(k.Content):
		return nil, &StatusError{codeInternal, "the answer has more than one message"}
	case f.Flags != 0:
		return nil, &StatusError{codeInternal, "the answer is compressed, which nobody asked for"}
	}
	return f.Data, nil
}

// outcome reads the status of a gRPC call.
func (k *Call) outcome() error {
	h := &k.Trailer
	v := h.Get(header.GRPCStatus)
	if v == nil {
		h = &k.Response
		v = h.Get(header.GRPCStatus)
	}
	code, ok := stream.ParseGRPCStatus(v)
	switch {
	case !ok:
		return &StatusError{codeUnknown, "the answer has no grpc-status: it is none of gRPC's"}
	case code != 0:
		return &StatusError{code, string(stream.AppendGRPCText(nil, h.Get(header.GRPCMessage)))}
	}
	return nil
}
