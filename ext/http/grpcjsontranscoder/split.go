// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"errors"
	"fmt"

	"weir.dev/weir/proxy/stream"
)

// splitter cuts a JSON array that comes in pieces into its elements. It looks
// only for where they end; whether they are JSON is for who reads them.
type splitter struct {
	limit int // of an element, in bytes
	buf   []byte
	state splitState
	depth int
	text  bool // within a string
	slash bool // behind a backslash
	any   bool // an element was there
}

type splitState uint8

const (
	beforeArray splitState = iota
	beforeElement
	inElement
	afterArray
)

var (
	errNoArray    = errors.New("expected an array of messages")
	errAfterArray = errors.New("there is more behind the array of messages")
	errUnfinished = errors.New("the array of messages does not end")
	errNoElement  = errors.New("a message is missing in the array")
)

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// feed takes a piece and calls emit with each element that ends in it.
func (s *splitter) feed(p []byte, emit func([]byte) error) error {
	for _, c := range p {
		if s.state == inElement {
			done, err := s.within(c, emit)
			if err != nil {
				return err
			}
			if !done {
				continue
			}
		}
		if isSpace(c) && s.state != inElement {
			continue
		}
		if err := s.between(c); err != nil {
			return err
		}
	}
	return nil
}

// between takes a byte that is in no element.
func (s *splitter) between(c byte) error {
	switch s.state {
	case beforeArray:
		if c != '[' {
			return errNoArray
		}
		s.state = beforeElement
	case beforeElement:
		switch {
		case c == ']' && !s.any:
			s.state = afterArray
		case c == ',' || c == ']':
			return errNoElement
		default:
			s.state = inElement
			s.note(c)
			s.buf = append(s.buf, c)
		}
	case inElement: // Its end.
		s.state, s.any = beforeElement, true
		if c == ']' {
			s.state = afterArray
		}
	case afterArray:
		return errAfterArray
	}
	return nil
}

// within takes a byte of an element, or reports that it is the one behind it.
func (s *splitter) within(c byte, emit func([]byte) error) (done bool, err error) {
	if !s.text && s.depth == 0 && (c == ',' || c == ']') {
		err = emit(s.buf)
		s.buf = s.buf[:0]
		return true, err
	}
	if len(s.buf) >= s.limit {
		return false, fmt.Errorf("message of an array: %w", stream.ErrTooLarge)
	}
	s.note(c)
	s.buf = append(s.buf, c)
	return false, nil
}

func (s *splitter) note(c byte) {
	switch {
	case s.slash:
		s.slash = false
	case s.text:
		s.slash, s.text = c == '\\', c != '"'
	case c == '"':
		s.text = true
	case c == '{' || c == '[':
		s.depth++
	case c == '}' || c == ']':
		s.depth--
	}
}

// finish reports what is missing at the end; a body without anything is no
// array, and fine.
func (s *splitter) finish() error {
	if s.state != beforeArray && s.state != afterArray {
		return errUnfinished
	}
	return nil
}
