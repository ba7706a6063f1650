// Package claim checks X-Revcred-Claim in a backend, with Go's standard library alone.
//
//	checker := claim.NewChecker("https://revcred.example.com", "edge-1")
//	owner, err := checker.Check(request.Header.Get("X-Revcred-Claim"))
package claim

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	keysAge   = 5 * time.Minute  // the published keys are kept so long
	retryAge  = 10 * time.Second // between two looks for a key that is not among them
	clockSkew = 5 * time.Second  // that this machine's clock may be behind or ahead
)

// ErrInvalid is returned for a claim that is missing, forged, too old, or meant for others.
var ErrInvalid = errors.New("invalid claim")

// Owner says whose a call is.
type Owner struct {
	Issuer       string   `json:"iss"`
	Audience     string   `json:"aud"`
	Subject      string   `json:"sub"`
	Expires      int64    `json:"exp"`
	Customer     string   `json:"customer"`
	Subscription string   `json:"subscription"`
	Product      string   `json:"product"`
	Credential   string   `json:"credential"`
	Environment  string   `json:"environment"`
	Tags         []string `json:"tags"`
}

// Checker checks claims by the keys that revcred publishes.
type Checker struct {
	revcred, gateway string
	lock             sync.Mutex
	keys             map[string]ed25519.PublicKey
	readAt           time.Time
}

// NewChecker returns a checker for claims of a revcred, made for a gateway.
func NewChecker(revcred, gateway string) *Checker {
	return &Checker{revcred: revcred, gateway: gateway}
}

// Check returns whose the call is.
func (c *Checker) Check(claim string) (*Owner, error) {
	parts := strings.Split(claim, ".")
	if len(parts) != 3 {
		return nil, ErrInvalid
	}
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || decode(parts[0], &header) != nil || header.Algorithm != "EdDSA" {
		return nil, ErrInvalid
	}
	key, err := c.keyNamed(header.KeyID)
	if err != nil {
		return nil, err
	}
	if key == nil || !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), signature) {
		return nil, ErrInvalid
	}
	var owner Owner
	if decode(parts[1], &owner) != nil || owner.Issuer != c.revcred || owner.Audience != c.gateway {
		return nil, ErrInvalid
	}
	if time.Now().Add(-clockSkew).After(time.Unix(owner.Expires, 0)) {
		return nil, ErrInvalid
	}
	return &owner, nil
}

func (c *Checker) keyNamed(id string) (ed25519.PublicKey, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	age := time.Since(c.readAt)
	if _, known := c.keys[id]; age > keysAge || (age > retryAge && !known) {
		if err := c.readKeys(); err != nil {
			return nil, err
		}
	}
	return c.keys[id], nil
}

func (c *Checker) readKeys() error {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(c.revcred + "/.well-known/jwks.json")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("keys: %s", answer.Status)
	}
	var published struct {
		Keys []struct {
			ID     string `json:"kid"`
			Public string `json:"x"`
		} `json:"keys"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&published); err != nil {
		return err
	}
	keys := map[string]ed25519.PublicKey{}
	for _, key := range published.Keys {
		public, err := base64.RawURLEncoding.DecodeString(key.Public)
		if err == nil && len(public) == ed25519.PublicKeySize {
			keys[key.ID] = public
		}
	}
	c.keys, c.readAt = keys, time.Now()
	return nil
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
