//! Heat maps of ranks: one row per method, darker for lower ranks.

use plotters::prelude::*;

use super::{Chart, Drawn, INK, Page, short};

/// A table of ranks.
pub struct Heat {
    /// Title.
    pub title: String,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// `values[row][column]`. Non-finite values are left white.
    pub values: Vec<Vec<f64>>,
    /// Digits after the decimal point.
    pub digits: usize,
}

/// Minimum width, and height, of a cell.
const CELL: [u32; 2] = [70, 30];
const TOP: u32 = 34;
/// Height of one line of a column's name.
const LINE: u32 = 14;
/// The colours of the best and the worst value.
const ENDS: [[f64; 3]; 2] = [[8.0, 81.0, 156.0], [239.0, 243.0, 255.0]];

impl Heat {
    /// The words of each column's name, which are drawn one below the other.
    fn words(&self) -> Vec<Vec<String>> {
        let words = |name: &String| name.split(' ').filter(|word| !word.is_empty()).map(short).collect();
        self.columns.iter().map(words).collect()
    }

    /// Width of a cell: wide enough for the longest word of any column name. These names are not truncated, since they
    /// distinguish the columns.
    fn width(&self) -> u32 {
        let longest = self.words().iter().flatten().map(|word| word.chars().count()).max().unwrap_or(0) as u32;
        CELL[0].max(7 * longest + 6)
    }

    fn corner(&self) -> [u32; 2] {
        let longest = self.rows.iter().map(|row| short(row).chars().count()).max().unwrap_or(0) as u32;
        let tallest = self.words().iter().map(Vec::len).max().unwrap_or(0) as u32;
        [22 + 8 * longest, TOP + LINE * tallest + 8]
    }

    /// The smallest and largest value of a column; each column has its own scale.
    fn range(&self, column: usize) -> [f64; 2] {
        let values = self.values.iter().map(|row| row[column]).filter(|value| value.is_finite());
        values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| [low.min(value), high.max(value)])
    }
}

impl Chart for Heat {
    fn size(&self) -> [u32; 2] {
        let [left, top] = self.corner();
        // At least as wide as the title.
        let wide = (24 + 8 * self.title.chars().count() as u32).max(320);
        [(left + self.width() * self.columns.len() as u32 + 14).max(wide), top + CELL[1] * self.rows.len() as u32 + 14]
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let ([left, top], width) = (self.corner(), self.width());
        for (column, words) in self.words().iter().enumerate() {
            let x = left + width * column as u32 + 3;
            let first = top - 6 - LINE * words.len() as u32;
            for (line, word) in words.iter().enumerate() {
                page.text(word, [x, first + LINE * line as u32], &page.font(11))?;
            }
        }
        for (row, name) in self.rows.iter().enumerate() {
            let y = top + CELL[1] * row as u32;
            page.text(&short(name), [12, y + 8], &page.font(13))?;
            for column in 0..self.columns.len() {
                self.cell(page, [row, column], [left + width * column as u32, y])?;
            }
        }
        Ok(())
    }
}

impl Heat {
    fn cell<D: DrawingBackend>(&self, page: &Page<'_, D>, [row, column]: [usize; 2], [x, y]: [u32; 2]) -> Drawn<D> {
        let (value, [low, high], width) = (self.values[row][column], self.range(column), self.width());
        if !value.is_finite() {
            return page.text("–", [x + width / 2 - 4, y + 8], &page.font(13));
        }
        let share = if high > low { (value - low) / (high - low) } else { 0.5 };
        let channel = |number: usize| (ENDS[0][number] + share * (ENDS[1][number] - ENDS[0][number])) as u8;
        let color = RGBColor(channel(0), channel(1), channel(2));
        let corner = |x: u32, y: u32| (page.px(x) as i32, page.px(y) as i32);
        let area = [corner(x + 1, y + 1), corner(x + width - 1, y + CELL[1] - 1)];
        page.area.draw(&Rectangle::new(area, color.filled()))?;
        let text = format!("{value:.*}", self.digits);
        let ink = if share < 0.55 { WHITE } else { INK };
        let at = x + (width - 7 * text.chars().count() as u32) / 2;
        page.text(&text, [at, y + 8], &page.font(13).color(&ink))
    }
}
