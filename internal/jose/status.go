// SPDX-License-Identifier: Apache-2.0

package jose

// Status is what becomes of a token or of a set of keys, with Envoy's numbers and words.
type Status uint8

// Statuses.
const (
	OK                 Status = 0
	Missing            Status = 1
	NotYetValid        Status = 2
	Expired            Status = 3
	BadFormat          Status = 4
	HeaderBadBase64    Status = 5
	HeaderBadJSON      Status = 6
	HeaderBadAlg       Status = 7
	HeaderUnknownAlg   Status = 8
	HeaderBadKid       Status = 9
	PayloadBadBase64   Status = 10
	PayloadBadJSON     Status = 11
	IssNotString       Status = 12
	SubNotString       Status = 13
	IatNotInteger      Status = 14
	IatOutOfRange      Status = 15
	NbfNotInteger      Status = 16
	NbfOutOfRange      Status = 17
	ExpNotInteger      Status = 18
	ExpOutOfRange      Status = 19
	JtiNotString       Status = 20
	AudNotString       Status = 21
	SignatureBadBase64 Status = 22
	UnknownIssuer      Status = 24
	AudienceNotAllowed Status = 25
	VerificationFailed Status = 26
	KeysBadJSON        Status = 28
	KeysMissing        Status = 29
	KeysNoArray        Status = 30
	KeysNoneValid      Status = 31
	KeysNoneMatches    Status = 32
	KeysFetchFailed    Status = 40
	lastStatus                = KeysFetchFailed
)

// String returns Envoy's message.
func (s Status) String() string {
	if s > lastStatus {
		return ""
	}
	return [lastStatus + 1]string{
		OK:                 "OK",
		Missing:            "Jwt is missing",
		NotYetValid:        "Jwt not yet valid",
		Expired:            "Jwt is expired",
		BadFormat:          "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
		HeaderBadBase64:    "Jwt header is an invalid Base64url encoded",
		HeaderBadJSON:      "Jwt header is an invalid JSON",
		HeaderBadAlg:       "Jwt header [alg] field is required and must be a string",
		HeaderUnknownAlg:   "Jwt header [alg] is not supported",
		HeaderBadKid:       "Jwt header [kid] field is not a string",
		PayloadBadBase64:   "Jwt payload is an invalid Base64url encoded",
		PayloadBadJSON:     "Jwt payload is an invalid JSON",
		IssNotString:       "Jwt payload [iss] field is not a string",
		SubNotString:       "Jwt payload [sub] field is not a string",
		IatNotInteger:      "Jwt payload [iat] field is not an integer",
		IatOutOfRange:      "Jwt payload [iat] field is not a positive 64 bit integer",
		NbfNotInteger:      "Jwt payload [nbf] field is not an integer",
		NbfOutOfRange:      "Jwt payload [nbf] field is not a positive 64 bit integer",
		ExpNotInteger:      "Jwt payload [exp] field is not an integer",
		ExpOutOfRange:      "Jwt payload [exp] field is not a positive 64 bit integer",
		JtiNotString:       "Jwt payload [jti] field is not a string",
		AudNotString:       "Jwt payload [aud] field is not a string or string list",
		SignatureBadBase64: "Jwt signature is an invalid Base64url encoded",
		UnknownIssuer:      "Jwt issuer is not configured",
		AudienceNotAllowed: "Audiences in Jwt are not allowed",
		VerificationFailed: "Jwt verification fails",
		KeysBadJSON:        "Jwks is an invalid JSON",
		KeysMissing:        "Jwks does not have [keys] field",
		KeysNoArray:        "[keys] in Jwks is not an array",
		KeysNoneValid:      "Jwks doesn't have any valid public key",
		KeysNoneMatches:    "Jwks doesn't have key to match kid or alg from Jwt",
		KeysFetchFailed:    "Jwks remote fetch is failed",
	}[s]
}
