// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"bytes"
	"strconv"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
)

type chunkState uint8

const (
	chunkSize      chunkState = iota
	chunkSpace                // whitespace before the ';' of an extension
	chunkName0                // before an extension's name
	chunkName                 // in it
	chunkNameSpace            // whitespace behind it
	chunkValue0               // before an extension's value
	chunkValue                // in a token
	chunkQuoted               // in a quoted string
	chunkPair                 // after its backslash
	chunkQuoteEnd             // behind it
	chunkHeadLF               // after the CR of a chunk's head
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailers
	chunkDone
	chunkError
)

// Chunked decodes the chunked transfer coding (RFC 9112 §7.1) without copying.
// It must be Reset for each message and is not safe for concurrent use.
type Chunked struct {
	state  chunkState
	digits uint8
	// dropTrailers is set where trailers are checked and forgotten.
	dropTrailers bool
	response     bool
	underscores  codec.Underscores
	left         int64 // of the chunk
	extensions   int   // bytes of all extensions so far

	trailers   *header.Map
	maxTrailer int
	maxFields  int
	size       int // of the trailer section so far
	fields     int
	scanned    int // bytes of its line at hand known to hold no LF

	failed *codec.Error
	made   codec.Error
}

// Reset readies the decoder for the body of a message. Trailer fields go to
// trailers; it may be nil, and is left alone if the options do not enable
// trailers (nil options are DefaultOptions). The errors of a response have
// status 502.
func (c *Chunked) Reset(o *Options, trailers *header.Map, response bool) {
	*c = Chunked{trailers: trailers, response: response}
	c.maxTrailer, c.maxFields = DefaultMaxHeadBytes, DefaultMaxHeaders
	c.dropTrailers = true
	if o != nil {
		c.maxTrailer = orDefault(o.MaxTrailerBytes, orDefault(o.MaxHeadBytes, DefaultMaxHeadBytes))
		c.maxFields = min(orDefault(o.MaxHeaders, DefaultMaxHeaders), maxMaxHeaders)
		c.dropTrailers = !o.EnableTrailers || trailers == nil
		if !response {
			c.underscores = o.Underscores
		}
	}
}

// Next decodes from the front of b. It consumes n bytes, the last of which are
// data, a view of some payload. It is called until done, with what is left and
// more behind it; if n is 0 it needs more than it was given. Trailer fields are
// views of b, in which their lines must stay in place; names are lowered.
func (c *Chunked) Next(b []byte) (n int, data []byte, done bool, err error) {
	for n < len(b) {
		switch c.state {
		case chunkData:
			k := int(min(c.left, int64(len(b)-n)))
			c.left -= int64(k)
			if c.left == 0 {
				c.state = chunkDataCR
			}
			return n + k, b[n : n+k], false, nil
		case chunkTrailers:
			k, e := c.trailer(b[n:])
			n += k
			if e != nil {
				return n, nil, false, c.fail(e)
			}
			return n, nil, c.state == chunkDone, nil
		case chunkDone:
			return n, nil, true, nil
		case chunkError:
			return n, nil, false, c.failed
		}
		if e := c.step(b[n]); e != nil {
			return n, nil, false, c.fail(e)
		}
		n++
	}
	return n, nil, c.state == chunkDone, nil
}

func (c *Chunked) fail(e *codec.Error) error {
	if c.response {
		c.made = codec.Error{Status: 502, Detail: e.Detail, Reason: e.Reason}
		e = &c.made
	}
	c.state, c.failed = chunkError, e
	return e
}

// step takes one byte of what is neither data nor trailers.
func (c *Chunked) step(b byte) *codec.Error {
	switch c.state {
	case chunkSize:
		if d := hexDigit[b]; d <= 15 {
			// The value must fit, and zeros in front may not go on for ever.
			if c.digits++; c.digits > 16 || c.left > (1<<63-1)>>4 {
				return errChunkSize
			}
			c.left = c.left<<4 | int64(d)
			return nil
		}
		if c.digits == 0 {
			return errChunkSize
		}
		return c.afterSize(b)
	case chunkHeadLF:
		if b != '\n' {
			return errBareCR
		}
		c.digits = 0
		c.state = chunkData
		if c.left == 0 {
			c.state = chunkTrailers
		}
		return nil
	case chunkDataCR:
		if b != '\r' {
			return errChunkEnd
		}
		c.state = chunkDataLF
		return nil
	case chunkDataLF:
		if b != '\n' {
			return errChunkEnd
		}
		c.state = chunkSize
		return nil
	}
	return c.extension(b)
}

// afterSize takes the byte behind the digits of a size.
func (c *Chunked) afterSize(b byte) *codec.Error {
	switch b {
	case '\r':
		c.state = chunkHeadLF
	case ';', ' ', '\t':
		return c.afterValue(b)
	case '\n':
		return errBareLF
	default:
		return errChunkSize
	}
	return nil
}

// afterValue takes the byte behind an extension, or behind a size.
func (c *Chunked) afterValue(b byte) *codec.Error {
	if b == '\r' {
		c.state = chunkHeadLF
		return nil
	}
	if c.extensions++; c.extensions > maxExtensionBytes {
		return errChunkExts
	}
	switch b {
	case ';':
		c.state = chunkName0
	case ' ', '\t':
		c.state = chunkSpace
	case '\n':
		return errBareLF
	default:
		return errChunkExt
	}
	return nil
}

// extension takes a byte of *( BWS ";" BWS name [ BWS "=" BWS value ] ), where a
// value is a token or a quoted string (RFC 9112 §7.1.1).
func (c *Chunked) extension(b byte) *codec.Error {
	if c.state == chunkQuoteEnd || c.state == chunkValue && lowerToken[b] == 0 {
		return c.afterValue(b)
	}
	if c.state == chunkName && b == '\r' {
		c.state = chunkHeadLF
		return nil
	}
	if c.extensions++; c.extensions > maxExtensionBytes {
		return errChunkExts
	}
	space, token := b == ' ' || b == '\t', lowerToken[b] != 0
	switch {
	case b == '\n':
		return errBareLF
	case c.state == chunkQuoted && b == '"':
		c.state = chunkQuoteEnd
	case c.state == chunkQuoted && b == '\\':
		c.state = chunkPair
	case c.state == chunkQuoted || c.state == chunkPair:
		if b < 0x20 && b != '\t' || b == 0x7f {
			return errChunkExt
		}
		c.state = chunkQuoted
	case c.state == chunkName0 && token:
		c.state = chunkName
	case c.state == chunkValue0 && token:
		c.state = chunkValue
	case c.state == chunkValue0 && b == '"':
		c.state = chunkQuoted
	case (c.state == chunkName0 || c.state == chunkValue0 || c.state == chunkSpace || c.state == chunkNameSpace) && space:
	case (c.state == chunkName || c.state == chunkValue) && token:
	case c.state == chunkName && space:
		c.state = chunkNameSpace
	case (c.state == chunkName || c.state == chunkNameSpace) && b == '=':
		c.state = chunkValue0
	case (c.state == chunkName || c.state == chunkNameSpace || c.state == chunkSpace) && b == ';':
		c.state = chunkName0
	default:
		return errChunkExt
	}
	return nil
}

// trailer consumes lines of the trailer section.
func (c *Chunked) trailer(b []byte) (i int, err *codec.Error) {
	for {
		next := 0
		from := min(i+c.scanned, len(b))
		if c.scanned == 0 || bytes.IndexByte(b[from:], '\n') >= 0 {
			c.scanned = 0
			if len(b)-i >= 2 && b[i] == '\r' && b[i+1] == '\n' {
				c.state = chunkDone
				return i + 2, nil
			}
			if next, err = c.trailerLine(b, i); err != nil {
				return i, err
			}
		}
		if next == 0 {
			c.scanned = len(b) - i
			if c.scanned > 1 && b[i] == '\r' {
				return i, errBareCR
			}
			if c.size+c.scanned > c.maxTrailer {
				return i, errTrailers
			}
			return i, nil
		}
		i = next
	}
}

func (c *Chunked) trailerLine(b []byte, i int) (next int, err *codec.Error) {
	if rest := len(b) - i; rest == 0 || rest == 1 && b[i] == '\r' {
		return 0, nil
	}
	colon, start, end, next, err := scanField(b, i)
	if err != nil || next == 0 {
		return 0, err
	}
	c.size += next - i
	if c.size > c.maxTrailer {
		return 0, errTrailers
	}
	if c.fields++; c.fields > c.maxFields {
		return 0, errMany
	}
	if c.underscores != codec.UnderscoresAllow && bytes.IndexByte(b[i:colon], '_') >= 0 {
		if c.underscores == codec.UnderscoresReject {
			return 0, errUnderscore
		}
		return next, nil
	}
	if c.dropTrailers {
		return next, nil
	}
	if n := header.Resolve(b[i:colon]); codec.TrailerAllowed(n) {
		c.trailers.AddView(n, b[start:end])
	}
	return next, nil
}

// AppendChunkHead appends the head of a chunk of n bytes, n > 0. The chunk's
// data and a CRLF must follow.
func AppendChunkHead(dst []byte, n int) []byte {
	return append(strconv.AppendUint(dst, uint64(n), 16), '\r', '\n')
}

// AppendChunk appends a chunk with its data, or nothing if there is no data: a
// chunk of size 0 would be the last.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = append(AppendChunkHead(dst, len(data)), data...)
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends the end of a chunked body with its trailers, which
// may be nil. Fields that may not be trailers are left out.
func AppendLastChunk(dst []byte, trailers *header.Map, f *Framing) ([]byte, error) {
	if trailers == nil || trailers.Len() == 0 {
		return append(dst, "0\r\n\r\n"...), nil
	}
	w := newWriter(dst, trailers.Size()+4*trailers.Len())
	w.text("0\r\n")
	fields := trailers.Fields()
	for i := range fields {
		if t := &fields[i]; t.Live() && codec.TrailerAllowed(t.Name()) {
			if err := w.field(t.Name(), t.Value(), f); err != nil {
				return dst, err
			}
		}
	}
	w.text("\r\n")
	return w.b[:w.n], nil
}
