#!/usr/bin/env python3
"""Writes the data of the examples, the same bytes every time.

    python3 examples/generate.py            write
    python3 examples/generate.py --check    compare with what is there

Everything is invented here: no customer, order or person behind any line. Only `random.random()` is used, whose sequence for
a seed is the same in every version of Python.
"""

import csv
import io
import json
import random
import sys
from pathlib import Path

HERE = Path(__file__).parent


class Dice:
    """A seeded source of choices built on `random.random()` alone."""

    def __init__(self, seed):
        self.random = random.Random(seed).random

    def below(self, count):
        return int(self.random() * count)

    def pick(self, options):
        return options[self.below(len(options))]

    def chance(self, share):
        return self.random() < share

    def shuffled(self, items):
        items = list(items)
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
        return items


# --- tickets ---------------------------------------------------------------------------------------------------------

PRODUCTS = ["kettle", "desk lamp", "air purifier", "robot vacuum", "headphones", "coffee grinder", "smart scale", "router",
            "standing desk", "toaster", "radio", "e-reader"]
TIERS = ["free", "free", "free", "plus", "plus", "business"]
SLOTS = {
    "days": ["two", "three", "four", "five", "six", "nine", "ten"],
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
    "amount": ["9.90", "12.50", "19.00", "24.99", "39.00", "49.90", "64.00", "89.95", "129.00"],
    "order": ["A-2071", "A-2119", "A-2284", "A-2316", "A-2450", "A-2533", "A-2608", "A-2777", "A-2901", "A-3014"],
    "month": ["January", "March", "April", "June", "August", "October", "November"],
    "code": ["E04", "E11", "0x80", "502", "F2", "1014"],
    "device": ["phone", "tablet", "laptop", "old phone", "work computer"],
    "place": ["the neighbour", "the porch", "the pickup shop", "my old address", "the wrong house"],
    "colour": ["black", "white", "grey", "green", "blue"],
}
TICKETS = {
    "billing": [
        "I was charged twice for order {order}, {amount} each time. One of them should be refunded.",
        "My card shows a payment of {amount} that I do not recognise. What is it for?",
        "The invoice for {month} says {amount} but the shop page said it was cheaper when I paid.",
        "I returned the {product} {days} weeks ago and the refund has still not reached my card.",
        "Can you send me a receipt for {order}? I need an invoice with our company's tax number on it.",
        "The discount was not applied, so I paid {amount} too much.",
        "I cancelled the subscription in {month} and you still took {amount} this morning.",
        "Why did the price of the plan go up? My last bill was {amount} less.",
        "Two invoices arrived for one {product}. Which of them do I have to pay?",
        "Payment fails every time, although the card is fine everywhere else.",
        "I would like to pay by invoice instead of card from {month} on. Is that possible?",
        "I paid with a gift card and the rest, {amount}, was charged to the wrong card.",
    ],
    "delivery": [
        "Order {order} was meant to arrive on {day}. It is now {days} days late and tracking has not moved.",
        "The courier says the parcel was delivered to {place}, but nobody there has it.",
        "My {product} arrived with the box torn open and the power cable gone.",
        "Could you send the package to a different address? I am away from {day}.",
        "Tracking for {order} has said 'label created' for {days} days. Has it been shipped at all?",
        "I got a {colour} {product}, but I ordered a different colour.",
        "Only one of two parcels came. The {product} is still somewhere on its way.",
        "How long does shipping take at the moment? I need the {product} before {day}.",
        "The driver left the package in the rain and the {product} is soaked.",
        "I waited at home all {day} for the delivery and no one rang.",
        "Please hold the shipment of {order} until next week, I am travelling.",
        "The tracking link opens an empty page, so I cannot see where my parcel is.",
    ],
    "technical": [
        "The {product} shows error {code} and then switches itself off.",
        "Since the last update the app crashes as soon as I open it on my {device}.",
        "The {product} does not connect to wifi any more. I restarted everything twice.",
        "Pairing works with my {device} but not with the other one. Is that a known bug?",
        "The screen of the {product} stays dark after {days} minutes of use.",
        "The app is very slow and freezes when I open the settings page.",
        "Firmware install failed at 80 percent with code {code}. Now the {product} only blinks.",
        "Your website gives error {code} when I try to register the {product}.",
        "The {product} makes a grinding noise and stops. I cleaned it as the manual says.",
        "Notifications come {days} hours too late on my {device}.",
        "How do I reset the {product}? The button combination in the manual does nothing.",
        "The timer of the {product} is an hour wrong since the clocks changed.",
    ],
    "account": [
        "I cannot log in. The password reset email never comes.",
        "Please change the email of my account; the old address will be closed in {month}.",
        "My account is locked after {days} wrong passwords. How do I get back in?",
        "How can I delete my profile and everything stored with it?",
        "The code for the second login step goes to a phone number I no longer have.",
        "I have two accounts by mistake. Can you merge them into one?",
        "Someone signed in to my account on {day} from a {device} that is not mine.",
        "My username is spelled wrong and the profile page does not let me edit it.",
        "I want to add a colleague to our business account with their own login.",
        "After signing in I land on an account that is not mine. It lists a {product} I never had.",
        "I signed up with the wrong email and cannot confirm the account.",
        "How do I stop the login from asking me every single day on my {device}?",
    ],
    "other": [
        "Do you have shops where one can look at the {product} before buying?",
        "Will the {product} be available in {colour} again?",
        "Just wanted to say that the {product} is a joy to use. Well done!",
        "Are you hiring at the moment? I could not find a page about jobs.",
        "What is the {product} made of? My child has an allergy.",
        "Can the {product} be recycled, and where?",
        "I write about kitchens and would like to borrow a {product} for a test.",
        "Is the {product} suited for a room of thirty square metres?",
        "Your newsletter from {month} had a recipe in it. Could you send it to me again?",
        "Which of your products would you give to someone who already has a {product}?",
        "Do you offer the manual of the {product} in large print?",
        "Our school is looking for a partner for a project week in {month}.",
    ],
}
OPENINGS = ["", "", "", "", "Hello, ", "Hi, ", "Hi there. ", "Good morning. ", "Dear team, ", "Hello again. "]
ENDINGS = ["", "", "", "", " Thank you.", " Thanks!", " Please help.", " Can you look into it?", " Kind regards", " Waiting for your answer.",
           " I have written before, without an answer.", " Order number is {order}."]
WEIGHTS = [("billing", 28), ("delivery", 27), ("technical", 21), ("account", 15), ("other", 9)]


def weighted(dice, weights):
    at = dice.below(sum(weight for _, weight in weights))
    for name, weight in weights:
        if at < weight:
            return name
        at -= weight
    raise AssertionError("weights cover every draw")


def fill(dice, text, product):
    values = {name: dice.pick(options) for name, options in SLOTS.items()}
    return text.format(product=product, **values)


def spoken(dice, text):
    """As people type: some without capitals, some without the last full stop."""
    if dice.chance(0.12):
        text = text.lower()
    if dice.chance(0.15) and text.endswith("."):
        text = text[:-1]
    return text


def ticket(dice, seen):
    while True:
        label, product = weighted(dice, WEIGHTS), dice.pick(PRODUCTS)
        body = dice.pick(TICKETS[label])
        opening = dice.pick(OPENINGS)
        if opening.endswith(", ") and not body.startswith("I "):
            body = body[0].lower() + body[1:]
        text = spoken(dice, fill(dice, opening + body + dice.pick(ENDINGS), product))
        if text not in seen:
            seen.add(text)
            return [dice.pick(TIERS), product, text, label]


def tickets(dice, count=340, copies=27):
    """`copies` rows repeat the text of an earlier one to the byte: the same form sent twice."""
    seen, rows = set(), []
    for _ in range(count - copies):
        rows.append(ticket(dice, seen))
    for _ in range(copies):
        rows.append(list(dice.pick(rows[: count - copies])))
    rows = dice.shuffled(rows)
    return [["id", "customer_tier", "product", "text", "label"]] + [[f"T{at:04}"] + row for at, row in enumerate(rows, 1)]


# --- reviews ---------------------------------------------------------------------------------------------------------

REVIEWS = {
    "positive": [
        "I love this {product}. {good}", "Great {product}, {reason}. {good}", "Best {product} I have had in years. {good}",
        "Works perfectly out of the box. {good}", "Very happy with it, {reason}.", "Excellent. {good} I would buy the {product} again.",
        "Bought it as a present and they were delighted. {good}", "It is quiet, fast and easy to clean. {good}",
    ],
    "negative": [
        "The {product} broke after {days} weeks. {bad}", "Terrible. {bad}", "Very disappointed, {fault}. {bad}",
        "Looks cheap and {fault}. I will return it.", "Stopped working on the first day. {bad}", "Worst {product} I ever bought. {bad}",
        "Arrived damaged and support was rude. {bad}", "A waste of money: {fault}.",
    ],
    "neutral": [
        "The {product} is as described. {plain}", "It is a {product}. {plain}", "Bought it {days} weeks ago. {plain}",
        "Smaller than in the picture. {plain}", "Came in {colour}, as ordered. {plain}", "Replaces an older model. {plain}",
        "Used it {days} times so far. {plain}", "Does what the box says, no more and no less. {plain}",
    ],
}
GOOD = ["Looks beautiful on the shelf.", "The whole family enjoys it.", "Set up in five minutes, so easy.", "I recommend it to everyone.",
        "Comfortable and well made.", "Thanks for the quick delivery.", "Fantastic value.", "It makes mornings wonderful."]
BAD = ["I want a refund.", "Never again.", "The manual is useless.", "Support did not answer.", "A real disappointment, horrible.",
       "Two parts were missing.", "It smells awful.", "What a scam."]
PLAIN = ["Time will tell.", "The cable is one metre long.", "I have not used every function yet.", "It sits in the kitchen now.",
         "The box was larger than expected.", "My sister has the same one.", "Three stars for now.", "The manual has ten languages."]
REASON = ["the sound is brilliant", "setting it up was easy", "it is fast and quiet", "the battery lasts for days", "the buttons feel superb"]
FAULT = ["it is slow and loud", "the lid does not close", "the app fails half of the time", "the battery is empty by noon", "the wrong plug was in the box"]


def reviews(dice, count=200):
    rows, seen = [], set()
    while len(rows) < count:
        label, product = weighted(dice, [("positive", 50), ("negative", 32), ("neutral", 18)]), dice.pick(PRODUCTS)
        text = dice.pick(REVIEWS[label]).replace("{good}", dice.pick(GOOD)).replace("{bad}", dice.pick(BAD))
        text = text.replace("{plain}", dice.pick(PLAIN)).replace("{reason}", dice.pick(REASON)).replace("{fault}", dice.pick(FAULT))
        text = spoken(dice, fill(dice, text, product))
        if text not in seen:
            seen.add(text)
            rows.append([f"R{len(rows) + 1:04}", product, text, label])
    return [["id", "product", "review", "sentiment"]] + rows


# --- extract ---------------------------------------------------------------------------------------------------------

SHOPS = ["Harbour Tools", "North Lane Supplies", "Blue Door Bakery", "Kiln Street Pottery", "Greenfield School", "Riverside Clinic"]
ORDERS = [
    "Please send {count} x {product} ({colour}) to our {city} branch by {date}. {shop}",
    "{shop} here. We need {count} of the {product} in {colour}, delivered to {city}, not later than {date}.",
    "Could we have another {count} {product}s? {colour_cap} would be best. Ship to {city}. Needed on {date}. Best, {shop}",
    "Order from {shop}: {product}, {colour}, quantity {count}. Destination {city}. Latest date {date}.",
    "hi, {shop} again, same {product} as last time but {colour}, {count} pieces, {city}, before {date} please",
]
CITIES = ["Lisbon", "Leeds", "Graz", "Turku", "Porto", "Ghent", "Bergen", "Lyon"]


def orders(dice, count=60):
    lines, seen = [], set()
    while len(lines) < count:
        known = {
            "customer": dice.pick(SHOPS),
            "product": dice.pick(PRODUCTS),
            "colour": dice.pick(SLOTS["colour"]),
            "quantity": 1 + dice.below(40),
            "city": dice.pick(CITIES),
            "needed_by": f"2027-{1 + dice.below(12):02}-{1 + dice.below(28):02}",
        }
        text = dice.pick(ORDERS).format(
            count=known["quantity"], product=known["product"], colour=known["colour"], colour_cap=known["colour"].capitalize(),
            city=known["city"], date=known["needed_by"], shop=known["customer"])
        if text not in seen:
            seen.add(text)
            lines.append({"id": f"O{len(lines) + 1:03}", "message": text, "expected": known})
    return lines


# --- embed -----------------------------------------------------------------------------------------------------------

ARTICLES = {
    "Cleaning the {product}": "Unplug the {product} and let it cool down. Wipe the outside with a damp cloth and dry it with a soft one. "
                              "Never put it under running water. Do this about every {days} weeks.",
    "Setting up the {product}": "Place the {product} on a level surface and plug it in. Hold the main button for {days} seconds until the light "
                                "turns green, then follow the steps in the app.",
    "Warranty of the {product}": "The {product} is covered for two years from the day of purchase. Keep the receipt. Damage from falls or water "
                                 "is not covered.",
    "Returning the {product}": "You can send the {product} back within thirty days. Use the box it came in, add the printed form, and the amount "
                               "is paid back within {days} working days.",
    "Spare parts for the {product}": "Filters, cables and feet of the {product} can be ordered one by one. Older models are supported for ten years.",
}


def articles(dice):
    rows = [["id", "title", "body"]]
    for product in PRODUCTS:
        for title, body in ARTICLES.items():
            rows.append([f"K{len(rows):03}", fill(dice, title, product), fill(dice, body, product)])
    return rows


# --- batchfile -------------------------------------------------------------------------------------------------------

LABELS = {"type": "object", "properties": {"sentiment": {"type": "string", "enum": ["positive", "negative", "neutral"]}},
          "required": ["sentiment"], "additionalProperties": False}


def batch_lines(dice, count=40):
    """Lines as Gemini's batches take them."""
    for at, (_, product, review, _) in enumerate(reviews(dice, count)[1:], 1):
        yield {"key": f"review-{at:02}", "request": {
            "systemInstruction": {"parts": [{"text": "Say whether a review is positive, negative or neutral."}]},
            "contents": [{"role": "user", "parts": [{"text": f"Review of a {product}: {review}"}]}],
            "generationConfig": {"maxOutputTokens": 64, "responseMimeType": "application/json", "responseJsonSchema": LABELS},
        }}


# --- files -----------------------------------------------------------------------------------------------------------


def csv_text(rows):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def files():
    return {
        "tickets/tickets.csv": csv_text(tickets(Dice(11))),
        "reviews/reviews.csv": csv_text(reviews(Dice(12))),
        "extract/orders.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in orders(Dice(13))),
        "embed/articles.csv": csv_text(articles(Dice(14))),
        "batchfile/batch.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in batch_lines(Dice(15))),
    }


def main():
    stale = []
    for name, text in files().items():
        path = HERE / name
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8", newline="\n")
        elif not path.is_file() or path.read_bytes() != text.encode():
            stale.append(name)
    if stale:
        sys.exit(f"examples/{', examples/'.join(stale)}: not what examples/generate.py writes; run it and commit the change")


if __name__ == "__main__":
    main()
