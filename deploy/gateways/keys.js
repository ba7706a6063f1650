// What nginx compares with the digests of valid keys: HMAC-SHA256 of the caller's key under EXPORT_KEY.
import crypto from "crypto";

function digest(request) {
    const key = request.headersIn["X-Api-Key"];
    if (!key) {
        return "";
    }
    return crypto.createHmac("sha256", process.env.EXPORT_KEY).update(key).digest("hex");
}

export default { digest };
