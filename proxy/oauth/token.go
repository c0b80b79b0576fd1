// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/proxy/upstream/call"
)

// MaxAnswer bounds the body of a token endpoint's answer, in bytes: more does not fit
// into cookies by far.
const MaxAnswer = 256 << 10

// maxLifetime bounds how long a token is taken to live.
const maxLifetime = 10 * 365 * 24 * time.Hour

// A Token is what a token endpoint gave (RFC 6749 §5.1; OpenID Connect Core §3.1.3.3).
// Each is of printable ASCII without space, '"' and ';', or empty if there is none.
type Token struct {
	Access, ID, Refresh string
	// Lifetime is that of the access token; 0 if the endpoint does not say.
	Lifetime time.Duration
}

// seconds is a number of JSON, or a string that is one: some servers quote it.
type seconds int64

func (s *seconds) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" {
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return errors.New("expires_in is not a number of seconds")
	}
	*s = seconds(n)
	return nil
}

// answer is the answer of a token endpoint, good or bad.
type answer struct {
	Access  string  `json:"access_token"`
	ID      string  `json:"id_token"`
	Refresh string  `json:"refresh_token"`
	Expires seconds `json:"expires_in"`
}

// Read reads the answer to a call that has been made. An error has nothing of the answer
// but its status and the code of an OAuth error, if that is one.
func Read(k *call.Call) (Token, error) {
	if k.Status != http.StatusOK {
		if code := errorCode(k.Content); code != "" {
			return Token{}, fmt.Errorf("the token endpoint answers %d: %s", k.Status, code)
		}
		return Token{}, fmt.Errorf("the token endpoint answers %d", k.Status)
	}
	return ParseToken(k.Content)
}

// ParseToken reads the body of a good answer. It does not keep body.
func ParseToken(body []byte) (Token, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return Token{}, errors.New("the answer of the token endpoint is not the JSON that it should be")
	}
	if a.Access == "" {
		return Token{}, errors.New("the answer of the token endpoint has no access_token")
	}
	for name, t := range map[string]string{"access_token": a.Access, "id_token": a.ID, "refresh_token": a.Refresh} {
		if !Safe(t) {
			return Token{}, fmt.Errorf("%s of the token endpoint has characters that no token has", name)
		}
	}
	life := maxLifetime
	if a.Expires < seconds(maxLifetime/time.Second) {
		life = time.Duration(a.Expires) * time.Second
	}
	return Token{Access: a.Access, ID: a.ID, Refresh: a.Refresh, Lifetime: life}, nil
}

// Safe reports whether a token may stand in a field and in a cookie as it is.
func Safe(token string) bool {
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c >= 0x7f || c == '"' || c == ';' {
			return false
		}
	}
	return true
}

// errorCode is that of an error's answer (RFC 6749 §5.2), "" if it is not of that form.
func errorCode(body []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil || len(e.Error) > 64 {
		return ""
	}
	for i := range len(e.Error) {
		if c := e.Error[i]; c != '_' && (c < 'a' || c > 'z') {
			return ""
		}
	}
	return e.Error
}

// Expiry is when a token expires that is a JSON Web Token and says so (exp). Nothing is
// verified.
func Expiry(token string) (time.Time, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, false
	}
	var claims struct {
		Exp float64 `json:"exp"`
	}
	const farthest = 1 << 40
	if json.Unmarshal(payload, &claims) != nil || claims.Exp <= 0 || claims.Exp > farthest {
		return time.Time{}, false
	}
	return time.Unix(int64(claims.Exp), 0), true
}
