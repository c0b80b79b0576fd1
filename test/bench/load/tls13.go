// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Content types of records and types of handshake messages (RFC 8446 §5.1, §4).
const (
	changeCipherSpec = 20
	alert            = 21
	handshakeRecord  = 22
	applicationData  = 23

	serverHello         = 2
	newSessionTicket    = 4
	encryptedExtensions = 8
	certificate         = 11
	certificateVerify   = 15
	finished            = 20
)

// A hello is what all connections of a run begin with: the same key share, as making one costs as much as a quarter of
// what a server does for a handshake, and it costs the server nothing that it is the same.
type hello struct {
	key *ecdh.PrivateKey
	// message is the handshake message, derived the secret that RFC 8446 §7.1 begins with when there is no PSK.
	message, derived []byte
	cert             []byte
}

// newHello offers TLS 1.3 with TLS_AES_128_GCM_SHA256, X25519, ECDSA on P-256 and HTTP/1.1, and nothing to resume.
func newHello(cert []byte) (*hello, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate a key share: %w", err)
	}
	m := []byte{3, 3}
	m = append(m, key.PublicKey().Bytes()...) // Random bytes as good as any; nothing here is secret.
	m = append(m, 0, 0, 2, 0x13, 0x01, 1, 0)
	const name = "bench.test"
	var ext []byte
	add := func(id uint16, data ...byte) {
		ext = binary.BigEndian.AppendUint16(ext, id)
		ext = binary.BigEndian.AppendUint16(ext, uint16(len(data)))
		ext = append(ext, data...)
	}
	add(0, append([]byte{0, byte(len(name) + 3), 0, 0, byte(len(name))}, name...)...) // server_name
	add(10, 0, 2, 0, 29)                                                              // supported_groups
	add(13, 0, 2, 4, 3)                                                               // signature_algorithms
	add(16, append([]byte{0, 9, 8}, "http/1.1"...)...)                                // ALPN
	add(43, 2, 3, 4)                                                                  // supported_versions
	add(51, append([]byte{0, 36, 0, 29, 0, 32}, key.PublicKey().Bytes()...)...)
	m = append(binary.BigEndian.AppendUint16(m, uint16(len(ext))), ext...)
	h := &hello{key: key, message: append([]byte{1, 0, byte(len(m) >> 8), byte(len(m))}, m...), cert: cert}
	zeros := make([]byte, sha256.Size)
	early, err := hkdf.Extract(sha256.New, zeros, nil)
	if err != nil {
		return nil, fmt.Errorf("derive keys: %w", err)
	}
	empty := sha256.Sum256(nil)
	h.derived, err = expand(early, "derived", empty[:], sha256.Size)
	return h, err
}

// record is the hello as it is sent.
func (h *hello) record() []byte {
	return append([]byte{handshakeRecord, 3, 1, byte(len(h.message) >> 8), byte(len(h.message))}, h.message...)
}

// expand is HKDF-Expand-Label of RFC 8446 §7.1.
func expand(secret []byte, label string, context []byte, length int) ([]byte, error) {
	info := make([]byte, 0, 64)
	info = append(info, 0, byte(length), byte(len("tls13 ")+len(label)))
	info = append(append(info, "tls13 "...), label...)
	info = append(append(info, byte(len(context))), context...)
	out, err := hkdf.Expand(sha256.New, secret, string(info), length)
	if err != nil {
		return nil, fmt.Errorf("derive keys: %w", err)
	}
	return out, nil
}

// A half is the protection of one direction.
type half struct {
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

// newHalf derives a direction's secret from that of its stage, and the key and IV from it.
func newHalf(stage []byte, label string, transcript []byte) (*half, error) {
	secret, err := expand(stage, label, transcript, sha256.Size)
	if err != nil {
		return nil, err
	}
	key, err := expand(secret, "key", nil, 16)
	if err != nil {
		return nil, err
	}
	iv, err := expand(secret, "iv", nil, 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("prepare a key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("prepare a key: %w", err)
	}
	return &half{secret: secret, aead: aead, iv: iv}, nil
}

// nonce is that of the next record (RFC 8446 §5.3).
func (h *half) nonce() []byte {
	n := bytes.Clone(h.iv)
	for i := range 8 {
		n[4+i] ^= byte(h.seq >> (56 - 8*i))
	}
	h.seq++
	return n
}

// seal appends a protected record.
func (h *half) seal(b []byte, typ byte, content []byte) []byte {
	length := len(content) + 1 + 16
	head := []byte{applicationData, 3, 3, byte(length >> 8), byte(length)}
	return h.aead.Seal(append(b, head...), h.nonce(), append(bytes.Clone(content), typ), head)
}

// open reads a protected record in place.
func (h *half) open(record []byte) (typ byte, content []byte, err error) {
	plain, err := h.aead.Open(record[5:5], h.nonce(), record[5:], record[:5])
	if err != nil {
		return 0, nil, fmt.Errorf("open a record: %w", err)
	}
	plain = bytes.TrimRight(plain, "\x00")
	if len(plain) == 0 {
		return 0, nil, fmt.Errorf("a record without a type")
	}
	return plain[len(plain)-1], plain[:len(plain)-1], nil
}

// confirm is the content of a Finished message (RFC 8446 §4.4.4).
func (h *half) confirm(transcript []byte) ([]byte, error) {
	key, err := expand(h.secret, "finished", nil, sha256.Size)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(transcript)
	return mac.Sum(nil), nil
}

// keyShare checks a ServerHello and finds the server's share. A server that asks for another hello or chose anything
// else than what was offered is an error, and so is one that resumes.
func keyShare(m []byte) ([]byte, error) {
	if len(m) < 4+2+32+1 {
		return nil, fmt.Errorf("a server hello of %d bytes", len(m))
	}
	m = m[4+2+32:]
	if session := int(m[0]); len(m) < 1+session+5 {
		return nil, fmt.Errorf("a server hello that ends early")
	} else if m = m[1+session:]; m[0] != 0x13 || m[1] != 0x01 {
		return nil, fmt.Errorf("cipher suite %x, and not the one that all must use", m[:2])
	}
	var share []byte
	version := false
	for m = m[5:]; len(m) >= 4; {
		id, n := binary.BigEndian.Uint16(m), int(binary.BigEndian.Uint16(m[2:]))
		if len(m) < 4+n {
			return nil, fmt.Errorf("a server hello that ends early")
		}
		data := m[4 : 4+n]
		m = m[4+n:]
		switch {
		case id == 41:
			return nil, fmt.Errorf("the session was resumed: not a full handshake")
		case id == 43:
			version = bytes.Equal(data, []byte{3, 4})
		case id == 51 && len(data) == 36 && data[1] == 29:
			share = data[4:]
		}
	}
	if !version || share == nil {
		return nil, fmt.Errorf("not TLS 1.3 with X25519")
	}
	return share, nil
}
